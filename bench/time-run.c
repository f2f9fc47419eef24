// SPDX-License-Identifier: Apache-2.0
// time-run UID DIR COMMAND [ARG]..: starts a command as a user (-1: the caller), waits for it and prints the nanoseconds between, the largest memory (KiB)
// that it or one of the processes that it waited for had, and by how many bytes the use of DIR's file system ("": none) grew meanwhile at most.
// A program of its own because a runtime with threads and a big heap takes long to fork. The command's stdout goes to stderr.
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_NS = 3000000 };

static long long now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000ll + at.tv_nsec;
}

static long long used_bytes(const char *dir)
{
	struct statvfs fs;
	return statvfs(dir, &fs) ? 0 : (long long)(fs.f_blocks - fs.f_bfree) * (long long)fs.f_frsize;
}

// A process that looks again and again; the peak is in memory that both see.
static pid_t watch_disk(const char *dir, volatile long long *peak)
{
	long long before = used_bytes(dir);
	pid_t watcher = fork();
	if (watcher)
		return watcher;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		long long grown = used_bytes(dir) - before;
		if (grown > *peak)
			*peak = grown;
		nanosleep(&(struct timespec){ .tv_nsec = SAMPLE_NS }, NULL);
	}
}

// The time between start and end in nanoseconds, -1: it could not be started or waited for.
static __attribute__((noinline)) long long time_command(char **argv, int *status, struct rusage *used)
{
	long long begin = now();
	pid_t child = vfork();
	if (!child) {
		execvp(*argv, argv);
		_exit(127);
	}
	if (child < 0 || wait4(child, status, 0, used) != child)
		return -1;
	return now() - begin;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fputs("usage: time-run UID DIR COMMAND [ARG]..\n", stderr);
		return 99;
	}
	int uid = atoi(argv[1]), status;
	// Before the fork, so that it is not part of what is measured.
	if (uid >= 0 && (setgroups(0, NULL) < 0 || setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) < 0 || setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0)) {
		fprintf(stderr, "time-run: become %d: %s\n", uid, strerror(errno));
		return 99;
	}
	// As the same user, or it could not be ended.
	volatile long long *peak = mmap(NULL, sizeof *peak, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t watcher = *argv[2] && peak != MAP_FAILED ? watch_disk(argv[2], peak) : 0;
	int out = dup(1);
	dup2(2, 1);
	struct rusage used = { 0 };
	long long taken = time_command(argv + 3, &status, &used);
	if (taken < 0) {
		fprintf(stderr, "time-run: %s: %s\n", argv[3], strerror(errno));
		return 99;
	}
	if (watcher > 0)
		kill(watcher, SIGKILL);
	dprintf(out, "%lld %ld %lld\n", taken, used.ru_maxrss, peak == MAP_FAILED ? 0 : *peak);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
