// SPDX-License-Identifier: Apache-2.0
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void hold_standard_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/", O_PATH | O_CLOEXEC);
}

pid_t spawn_child(void)
{
	pid_t parent = getpid();
	pid_t pid = (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		// The parent may have died before the line above; its children then have another parent.
		if (getppid() != parent)
			_exit(125);
	}
	return pid;
}

int reap_child(pid_t pid)
{
	int status;
	pid_t got;
	do
		got = waitpid(pid, &status, __WALL);
	while (got < 0 && errno == EINTR);
	return got == pid ? status : -1;
}

void remember_sigchld(struct sigchld_state *state)
{
	sigset_t pending;
	state->was_pending = !sigpending(&pending) && sigismember(&pending, SIGCHLD);
}

void forget_sigchld(const struct sigchld_state *state)
{
	sigset_t pending, chld;
	struct timespec now = { 0, 0 };
	if (state->was_pending || sigpending(&pending) || !sigismember(&pending, SIGCHLD))
		return;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigtimedwait(&chld, NULL, &now);
}

void reset_signals(void)
{
	// The raw system call knows no signal that glibc keeps for itself, so those are reset too.
	struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } plain = { NULL, 0, NULL, 0 };
	for (int sig = 1; sig < 65; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			syscall(SYS_rt_sigaction, sig, &plain, NULL, 8L);
	unsigned long none = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8L);
}

void raise_limits(void)
{
	static const int limits[] = { RLIMIT_AS, RLIMIT_DATA, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_CPU, RLIMIT_FSIZE };
	struct rlimit limit;
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		if (getrlimit(limits[i], &limit) || limit.rlim_cur == limit.rlim_max)
			continue;
		limit.rlim_cur = limit.rlim_max;
		setrlimit(limits[i], &limit);
	}
	limit = (struct rlimit){ 0, 0 };
	setrlimit(RLIMIT_CORE, &limit);
}
