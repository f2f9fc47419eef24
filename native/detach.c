// SPDX-License-Identifier: Apache-2.0
// Detached processes, without a trace in the process that becomes the command and out of reach of what happens to its terminal.
#include "detach.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "descriptors.h"

// A process that adopts orphans (PR_SET_CHILD_SUBREAPER survives execve) would get our process as its child after all.
static bool stop_adopting(void)
{
	int adopts = 0;

	return prctl(PR_GET_CHILD_SUBREAPER, &adopts) == 0 && adopts && prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0;
}

// The first child forks the detached process by glibc's fork, which threads made later rely on, and leaves it an orphan. 0 or an errno; in the
// detached process *detached is set.
static int fork_twice(bool *detached)
{
	// exit signal 0: no SIGCHLD, whatever its disposition, and no wait() of a caller's handler sees it (clone(2))
	pid_t middle = (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L), last;
	int status = 0;

	if (middle < 0)
		return errno;
	if (middle == 0) {
		last = fork();
		if (last != 0)
			_exit(last < 0 ? errno : 0);
		*detached = true;
		return 0;
	}
	while (waitpid(middle, &status, __WALL) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

int detach_fork(struct fault *why)
{
	bool adopted = stop_adopting(), detached = false;
	sigset_t all, before;
	int error;

	// A signal to the whole process group must not meet the new process before detach_settle has made it deaf.
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	error = fork_twice(&detached);
	if (detached)
		return 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (adopted)
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (error == 0)
		return 1;
	fault(why, error, "start a background process");
	if (error == EAGAIN)
		fault_hint(why, "the limit on processes is reached (ulimit -u, or pids.max of the cgroup); raise it or end some");
	return -1;
}

static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2 };
static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };   // sanitizers handle some of them

static bool is_among(int number, const int *list, size_t count)
{
	while (count-- > 0)
		if (list[count] == number)
			return true;
	return false;
}

static void set_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++) {
		if (is_among(number, ignored, sizeof ignored / sizeof *ignored))
			signal(number, SIG_IGN);
		else if (!is_among(number, faults, sizeof faults / sizeof *faults))
			signal(number, SIG_DFL);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

// Descriptors 0 to 2 must be taken, or a later open would land there and a stray message would go into it.
static void set_stdio(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd > STDERR_FILENO) {
		close(fd);
		return;
	}
	while ((fd = memfd_create("null", 0)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd > STDERR_FILENO)
		close(fd);
}

// ps and pkill -f must not take it for the command, and its copy of arguments and environment may hold secrets. The kernel shows what
// lies between arg_start and env_end (proc_pid_stat(5), fields 48 to 51); this overwrites our own copy.
void rename_process(const char *name)
{
	unsigned long bound[4] = { 0 };
	char stat[2048], *at;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);

	if (name)
		prctl(PR_SET_NAME, name);
	if (fd >= 0)
		close(fd);
	if (size <= 0)
		return;
	stat[size] = '\0';
	at = strrchr(stat, ')');   // field 2 may hold anything
	for (int field = 3; at && field <= 51; field++) {
		at = strchr(at + 1, ' ');
		if (at && field >= 48)
			bound[field - 48] = strtoul(at + 1, NULL, 10);
	}
	if (!at || bound[0] == 0 || bound[1] <= bound[0] || bound[1] - bound[0] > 16 << 20)
		return;
	environ = NULL;
	size_t kept = name ? 0 : strnlen((char *)bound[0], bound[1] - bound[0]);
	memset((char *)bound[0] + kept, 0, bound[1] - bound[0] - kept);
	if (name)
		strncpy((char *)bound[0], name, bound[1] - bound[0] - 1);
	if (bound[2] >= bound[1] && bound[3] > bound[2] && bound[3] - bound[2] <= 16 << 20)
		memset((void *)bound[2], 0, bound[3] - bound[2]);
}

void detach_settle(const char *name, const int *keep, size_t count)
{
	setsid();
	set_signals();
	close_descriptors(0, keep, count);
	set_stdio();
	if (chdir("/") != 0) {
		// nothing is opened relative to it
	}
	rename_process(name);
}

void detach_settle_child(const char *name, const int *keep, size_t count)
{
	setsid();
	close_descriptors(STDERR_FILENO + 1, keep, count);
	rename_process(name);
}
