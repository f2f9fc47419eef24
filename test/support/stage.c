// SPDX-License-Identifier: Apache-2.0
// Sets the stage for the transparency tests, then execs a command: stage DIR -- COMMAND [ARG]..
// Descriptors 3 to 300 are files below DIR (100 is a pipe, 200 a socket), 7 holds an exclusive flock, 8 a shared one;
// limits, umask, niceness, affinity, the signal mask and the ignored signals all differ from what a shell gives.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LAST_FD = 300, PIPE_FD = 100, SOCKET_FD = 200, EXCLUSIVE_FD = 7, SHARED_FD = 8 };

_Noreturn static void stop(const char *what)
{
	fprintf(stderr, "stage: %s: %s\n", what, strerror(errno));
	exit(99);
}

static void fill_descriptors(const char *dir)
{
	for (int want = 3; want <= LAST_FD; want++) {
		char path[4096];
		int pair[2], fd;
		if (want == PIPE_FD) {
			if (pipe(pair) < 0)
				stop("pipe");
			fd = pair[0];
		} else if (want == SOCKET_FD) {
			if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
				stop("socketpair");
			fd = pair[0];
		} else {
			snprintf(path, sizeof path, "%s/fd-%d", dir, want % 10);
			fd = open(path, O_CREAT | O_RDWR | (want % 2 ? O_APPEND : 0), 0600);
			if (fd < 0)
				stop(path);
		}
		if (fd != want && (dup2(fd, want) < 0 || close(fd) < 0))
			stop("dup2");
		// The other end goes out of the way, above all that are looked at.
		if (want == PIPE_FD || want == SOCKET_FD) {
			if (fcntl(pair[1], F_DUPFD, 600) < 0 || close(pair[1]) < 0)
				stop("dup");
		}
	}
	if (flock(EXCLUSIVE_FD, LOCK_EX) < 0 || flock(SHARED_FD, LOCK_SH) < 0)
		stop("flock");
}

static void set_limits(void)
{
	static const struct { int which; rlim_t soft; } limit[] = {
		{ RLIMIT_NOFILE, 777 }, { RLIMIT_CORE, 0 }, { RLIMIT_STACK, 4 << 20 }, { RLIMIT_FSIZE, 5ull << 30 }, { RLIMIT_MEMLOCK, 64 << 10 },
	};
	for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
		struct rlimit now;
		if (getrlimit((__rlimit_resource_t)limit[i].which, &now) < 0)
			stop("getrlimit");
		now.rlim_cur = limit[i].soft;
		if (setrlimit((__rlimit_resource_t)limit[i].which, &now) < 0)
			stop("setrlimit");
	}
}

int main(int argc, char **argv)
{
	if (argc < 4 || strcmp(argv[2], "--")) {
		fputs("usage: stage DIR -- COMMAND [ARG]..\n", stderr);
		return 99;
	}
	fill_descriptors(argv[1]);
	set_limits();
	umask(027);
	if (setpriority(PRIO_PROCESS, 0, 5) < 0)
		stop("nice");
	cpu_set_t cpus, one;
	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
		stop("affinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &cpus)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	if (sched_setaffinity(0, sizeof one, &one) < 0)
		stop("affinity");
	sigset_t block;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGCHLD);
	sigaddset(&block, SIGRTMIN + 3);
	sigprocmask(SIG_SETMASK, &block, NULL);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGTSTP, SIG_IGN);
	execv(argv[3], argv + 3);
	stop(argv[3]);
}
