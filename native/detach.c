// SPDX-License-Identifier: Apache-2.0
// Detached processes, without a trace in the process that becomes the command.
#include "detach.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// A process that adopts orphans (PR_SET_CHILD_SUBREAPER survives execve) would get our process as its child after all.
static bool stop_adopting(void)
{
	int adopts = 0;

	return prctl(PR_GET_CHILD_SUBREAPER, &adopts) == 0 && adopts && prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0;
}

int detach_fork(struct fault *why)
{
	bool adopted = stop_adopting();
	// exit signal 0: no SIGCHLD, whatever its disposition, and no wait() of a caller's handler sees it (clone(2))
	pid_t middle = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0), last;
	int status = 0;

	if (middle == 0) {
		last = fork();
		if (last != 0)
			_exit(last < 0 ? errno : 0);
		return 0;
	}
	if (middle < 0) {
		fault(why, errno, "start a background process");
	} else {
		while (waitpid(middle, &status, __WALL) < 0 && errno == EINTR)
			;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			fault(why, WIFEXITED(status) ? WEXITSTATUS(status) : EINTR, "start a background process");
			middle = -1;
		}
	}
	if (middle < 0 && why->error == EAGAIN)
		fault_hint(why, "the limit on processes is reached (ulimit -u)");
	if (adopted)
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	return middle < 0 ? -1 : 1;
}

static bool is_kept(int fd, const int *keep, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (keep[i] == fd)
			return true;
	}
	return false;
}

// close_range(2) is Linux 5.9; before it /proc tells which are open.
static void close_listed(const int *keep, size_t count)
{
	DIR *list = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!list)
		return;
	while ((entry = readdir(list))) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] != '.' && fd != dirfd(list) && !is_kept(fd, keep, count))
			close(fd);
	}
	closedir(list);
}

static void close_others(const int *keep, size_t count)
{
	unsigned from = 0;

	for (;;) {
		unsigned next = ~0u;
		for (size_t i = 0; i < count; i++) {
			if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		}
		if (next > from && syscall(SYS_close_range, from, next == ~0u ? next : next - 1, 0) < 0) {
			close_listed(keep, count);
			return;
		}
		if (next == ~0u)
			return;
		from = next + 1;
	}
}

void detach_settle(const char *name, const int *keep, size_t count)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2};
	sigset_t none;
	int fd;

	setsid();
	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	close_others(keep, count);
	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3)
		;
	if (fd >= 3)
		close(fd);
	if (chdir("/") < 0) {
		// nothing is opened relative to it
	}
	prctl(PR_SET_NAME, name);
}
