// SPDX-License-Identifier: Apache-2.0
// time-run UID COMMAND [ARG]..: starts a command as a user (-1: the caller), waits for it and prints the nanoseconds between.
// A program of its own because a runtime with threads and a big heap takes long to fork. The command's stdout goes to stderr.
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000ll + at.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fputs("usage: time-run UID COMMAND [ARG]..\n", stderr);
		return 99;
	}
	int uid = atoi(argv[1]), status;
	// Before the fork, so that it is not part of what is measured.
	if (uid >= 0 && (setgroups(0, NULL) < 0 || setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) < 0 || setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0)) {
		fprintf(stderr, "time-run: become %d: %s\n", uid, strerror(errno));
		return 99;
	}
	int out = dup(1);
	dup2(2, 1);
	long long begin = now();
	pid_t child = vfork();
	if (!child) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		fprintf(stderr, "time-run: %s: %s\n", argv[2], strerror(errno));
		return 99;
	}
	long long end = now();
	dprintf(out, "%lld\n", end - begin);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
