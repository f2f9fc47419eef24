// SPDX-License-Identifier: Apache-2.0
// Ranges of ids are given by setuid programs of the host, which must run outside the new user namespace: a helper stays behind for that.
#include "userns_ranges.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userns.h"

enum { STATUS_NO_EXEC = 127, MOST_WORDS = 3 * 340 + 3 };   // the kernel takes 340 ranges (user_namespaces(7))

// What the helper tells: which program failed, how, and what it printed.
struct outcome { int failed, status, error; char said[300]; };

_Noreturn static void run_program(const char *program, char *const *map, pid_t pid, int output)
{
	static char *const env[] = {(char *)(uintptr_t)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)(uintptr_t)"LC_ALL=C", NULL};
	char number[16], *words[MOST_WORDS] = {(char *)(uintptr_t)program, number};
	size_t count = 2;

	snprintf(number, sizeof number, "%d", (int)pid);
	while (*map && count < MOST_WORDS - 1)
		words[count++] = *map++;
	if (*map)
		_exit(STATUS_NO_EXEC);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	execve(program, words, env);
	_exit(STATUS_NO_EXEC);
}

static void read_said(int fd, char *said, size_t size)
{
	size_t have = 0;
	ssize_t got;

	while (have < size - 1 && ((got = read(fd, said + have, size - 1 - have)) > 0 || (got < 0 && errno == EINTR)))
		have += got > 0 ? (size_t)got : 0;
	said[have] = 0;
	said[strcspn(said, "\n")] = 0;
}

static void run_one(const char *program, char *const *map, pid_t pid, struct outcome *outcome)
{
	int output[2], status = 0;
	pid_t child = pipe2(output, O_CLOEXEC) < 0 ? -1 : fork();

	if (child == 0)
		run_program(program, map, pid, output[1]);
	if (child < 0) {
		outcome->failed = 1;
		outcome->error = errno;
		return;
	}
	close(output[1]);
	read_said(output[0], outcome->said, sizeof outcome->said);
	close(output[0]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	outcome->failed = status != 0;
	outcome->status = status;
}

// Waits until the namespace is there, then has it mapped. Dies with the process that enters it.
_Noreturn static void help(const struct userns_ranges *ranges, pid_t pid, int ready, int report)
{
	struct outcome outcome[2] = {{.failed = 0}, {.failed = 0}};
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	signal(SIGCHLD, SIG_DFL);
	if (read(ready, &byte, 1) == 1) {
		run_one(ranges->newuidmap, ranges->uid_map, pid, &outcome[0]);
		if (!outcome[0].failed)
			run_one(ranges->newgidmap, ranges->gid_map, pid, &outcome[1]);
		(void)!write(report, outcome, sizeof outcome);
	}
	_exit(0);
}

static int explain(const char *program, const char *list, const struct outcome *outcome, struct fault *why)
{
	if (outcome->error)
		return fault(why, outcome->error, "run %s", program);
	if (WIFEXITED(outcome->status) && WEXITSTATUS(outcome->status) == STATUS_NO_EXEC && !outcome->said[0]) {
		fault(why, 0, "run %s: it cannot be executed", program);
		return fault_hint(why, "install it (Debian and Ubuntu: sudo apt install uidmap; Fedora and RHEL: sudo dnf install shadow-utils), or leave out --subuid");
	}
	fault(why, 0, "map the ranges of %s: %s", list, outcome->said[0] ? outcome->said : "the program failed without a word");
	return fault_hint(why, "%s must be setuid root or have the capability to map (ls -l %s), %s must give you the range, "
		"and nothing around may forbid new privileges; or leave out --subuid", program, program, list);
}

static int read_report(int fd, struct outcome *outcome, size_t size)
{
	size_t have = 0;
	ssize_t got;

	while (have < size && ((got = read(fd, (char *)outcome + have, size - have)) > 0 || (got < 0 && errno == EINTR)))
		have += got > 0 ? (size_t)got : 0;
	return have == size ? 0 : -1;
}

static int enter(const struct userns_ranges *ranges, int ready, int report, struct fault *why)
{
	struct outcome outcome[2];

	if (userns_unshare(why) < 0)
		return -1;
	if (write(ready, "", 1) != 1 || read_report(report, outcome, sizeof outcome) < 0)
		return fault(why, 0, "map ranges of ids: the process that does it ended");
	if (outcome[0].failed)
		return explain(ranges->newuidmap, "/etc/subuid", &outcome[0], why);
	if (outcome[1].failed)
		return explain(ranges->newgidmap, "/etc/subgid", &outcome[1], why);
	return 0;
}

int userns_enter_ranges(const struct userns_ranges *ranges, struct fault *why)
{
	int ready[2] = {-1, -1}, report[2] = {-1, -1}, failed, status;
	pid_t self = getpid(), helper = -1;

	if (pipe2(ready, O_CLOEXEC) == 0 && pipe2(report, O_CLOEXEC) == 0)
		helper = (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);   // exit signal 0: no SIGCHLD for the command to find
	if (helper < 0)
		fault(why, errno, "start a process that maps ranges of ids");
	if (helper == 0) {
		close(ready[1]);
		close(report[0]);
		help(ranges, self, ready[0], report[1]);
	}
	close_fd(&ready[0]);
	close_fd(&report[1]);
	failed = helper < 0 || enter(ranges, ready[1], report[0], why) < 0;
	close_fd(&ready[1]);
	close_fd(&report[0]);
	while (helper > 0 && waitpid(helper, &status, __WALL) < 0 && errno == EINTR)
		;
	return failed ? -1 : 0;
}
