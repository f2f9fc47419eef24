// SPDX-License-Identifier: Apache-2.0
// Starting the file server as a process that nobody has to wait for.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "serve-parts.h"

// A copy of a descriptor that is none of 0, 1 and 2, which serve_detach sets anew.
static int lift(int fd)
{
	return fd > STDERR_FILENO ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

// In the first child: forks the server by glibc's fork, which the threads made later rely on, and leaves it an orphan.
static _Noreturn void start_server(const struct serve_config *config, int socket, int caller_side)
{
	struct serve_config own = *config;
	pid_t pid = fork();

	if (pid != 0)
		_exit(pid < 0 ? errno : 0);
	close(caller_side);
	own.file = lift(config->file);
	socket = lift(socket);
	if (own.file < 0 || socket < 0)
		_exit(1);
	serve_detach(own.file, socket);
	serve_run(&own, socket);
}

// fork(2) without the SIGCHLD at the end: the caller's own disposition and waits stay undisturbed.
static pid_t fork_silently(void)
{
	return (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
}

static int fail_fork(struct fault *why, int error)
{
	fault(why, error, "fork the file server");
	if (error == EAGAIN)
		fault_hint(why, "the limit on processes is reached (ulimit -u, or pids.max of the cgroup); raise it or end some");
	return -1;
}

// Forks twice with signals held back. 0 or an errno.
static int fork_server(const struct serve_config *config, const int pair[2])
{
	sigset_t all, before;
	int status = 0, error = 0;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork_silently();
	if (pid == 0)
		start_server(config, pair[1], pair[0]);
	if (pid < 0)
		error = errno;
	while (pid > 0 && waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR) {
			error = errno;
			break;
		}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (error == 0 && pid > 0)
		error = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return error;
}

int serve_start(const struct serve_config *config, struct fault *why)
{
	int pair[2], subreaper = 0, error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return fault(why, errno, "make a socket for the file server");
	// A caller that adopts orphans (prctl PR_SET_CHILD_SUBREAPER) would adopt the server; its own ancestors do instead.
	prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
	if (subreaper)
		prctl(PR_SET_CHILD_SUBREAPER, 0);
	error = fork_server(config, pair);
	if (subreaper)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	close(pair[1]);
	if (error) {
		close(pair[0]);
		return fail_fork(why, error);
	}
	return pair[0];
}
