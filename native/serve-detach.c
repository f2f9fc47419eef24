// SPDX-License-Identifier: Apache-2.0
// Turning a forked child into a process of its own, which nothing that happens to the caller's terminal, descriptors or signals can reach.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "serve-parts.h"

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

static int close_listed(int a, int b)
{
	DIR *list = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!list)
		return -1;
	while ((entry = readdir(list))) {
		char *end;
		long fd = strtol(entry->d_name, &end, 10);
		if (end != entry->d_name && *end == '\0' && fd != a && fd != b && fd != dirfd(list))
			close((int)fd);
	}
	closedir(list);
	return 0;
}

// close_range(2) is there from Linux 5.9.
static void close_others(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);
	struct rlimit limit;

	if ((low == 0 || syscall(SYS_close_range, 0u, low - 1, 0u) == 0)
		&& (high - low < 2 || syscall(SYS_close_range, low + 1, high - 1, 0u) == 0)
		&& syscall(SYS_close_range, high + 1, ~0u, 0u) == 0)
		return;
	if (close_listed(a, b) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1 << 20)
		limit.rlim_cur = 1 << 20;
	for (int fd = 0; fd < (int)limit.rlim_cur; fd++)
		if (fd != a && fd != b)
			close(fd);
}

// Descriptors 0 to 2 must be taken, or a later open would land there and a stray message would go into it.
static void set_stdio(int spare)
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
	if (fd < 0)
		while ((fd = dup(spare)) >= 0 && fd <= STDERR_FILENO)
			;
	if (fd > STDERR_FILENO)
		close(fd);
}

// ps and pkill -f must not take the server for the command, and its copy of arguments and environment may hold secrets. The kernel shows what
// lies between arg_start and env_end (proc_pid_stat(5), fields 48 to 51); this overwrites our own copy.
static void rename_process(const char *name)
{
	unsigned long bound[4] = { 0 };
	char stat[2048], *at;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);

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
	memset((void *)bound[0], 0, bound[1] - bound[0]);
	strncpy((char *)bound[0], name, bound[1] - bound[0] - 1);
	if (bound[2] >= bound[1] && bound[3] > bound[2] && bound[3] - bound[2] <= 16 << 20)
		memset((void *)bound[2], 0, bound[3] - bound[2]);
}

// As many CPUs as the cpuset allows: the kernel leaves out the others (sched_setaffinity(2)).
static void widen_affinity(void)
{
	enum { CPUS = 8192 };
	static unsigned long all[CPUS / (8 * sizeof(unsigned long))];

	memset(all, 0xff, sizeof all);
	syscall(SYS_sched_setaffinity, 0, sizeof all, all);
}

void serve_detach(int a, int b)
{
	setsid();
	set_signals();
	close_others(a, b);
	set_stdio(b);
	widen_affinity();
	if (chdir("/") != 0) {
		// An unreadable root changes nothing for the server, which opens no path afterwards.
	}
	rename_process("bundler-fs");
}
