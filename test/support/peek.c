// SPDX-License-Identifier: Apache-2.0
// Prints, as JSON, everything a process can see of the way it was started. It is put into test images and run plainly and
// through a bundle: what both print is compared (test/e2e/transparency.test.ts).
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void print_string(const char *text)
{
	putchar('"');
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < 0x20 || *c > 0x7e)
			printf("\\u%04x", *c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void print_list(const char *name, char **list)
{
	printf("\"%s\":[", name);
	for (size_t i = 0; list[i]; i++) {
		if (i)
			putchar(',');
		print_string(list[i]);
	}
	puts("],");
}

static void print_file(const char *name, const char *path)
{
	char data[65536];
	int fd = open(path, O_RDONLY);
	ssize_t size = 0, n = 0;
	while (fd >= 0 && size < (ssize_t)sizeof data - 1 && (n = read(fd, data + size, sizeof data - 1 - (size_t)size)) > 0)
		size += n;
	data[size] = 0;
	if (fd >= 0)
		close(fd);
	printf("\"%s\":", name);
	print_string(data);
	puts(",");
}

// The lock that an inherited descriptor holds shows through a second opening of the same file: neither lock can then be
// had ("exclusive"), or only a shared one ("shared").
static const char *find_lock(int fd)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int other = open(path, O_RDONLY | O_CLOEXEC);
	if (other < 0)
		return "unknown";
	const char *lock = "none";
	if (flock(other, LOCK_EX | LOCK_NB) < 0)
		lock = flock(other, LOCK_SH | LOCK_NB) < 0 ? "exclusive" : "shared";
	close(other);
	return lock;
}

static void print_descriptors(void)
{
	printf("\"descriptors\":{");
	int first = 1;
	for (int fd = 0; fd < 1024; fd++) {
		struct stat st;
		if (fstat(fd, &st) < 0)
			continue;
		printf("%s\"%d\":{\"inode\":%llu,\"device\":%llu,\"mode\":%u,\"offset\":%lld,\"status\":%d,\"flags\":%d,\"lock\":\"%s\"}", first ? "" : ",",
		       fd, (unsigned long long)st.st_ino, (unsigned long long)st.st_dev, st.st_mode, S_ISREG(st.st_mode) ? (long long)lseek(fd, 0, SEEK_CUR) : 0,
		       fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), S_ISREG(st.st_mode) ? find_lock(fd) : "none");
		first = 0;
	}
	puts("},");
}

static void print_limits(void)
{
	printf("\"limits\":[");
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit;
		getrlimit((__rlimit_resource_t)i, &limit);
		printf("%s[\"%llu\",\"%llu\"]", i ? "," : "", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	}
	puts("],");
}

static void print_signals(void)
{
	sigset_t blocked, pending;
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	sigpending(&pending);
	const char *name[] = { "blocked", "ignored", "caught", "pending" };
	for (int kind = 0; kind < 4; kind++) {
		int first = 1;
		printf("\"%s\":[", name[kind]);
		for (int number = 1; number <= SIGRTMAX; number++) {
			struct sigaction action;
			if (kind == 1 || kind == 2) {
				// glibc refuses its own two signals (32, 33): they cannot be set here and not in the command either.
				if (sigaction(number, NULL, &action) < 0)
					continue;
				if (kind == 1 ? action.sa_handler != SIG_IGN : action.sa_handler == SIG_IGN || action.sa_handler == SIG_DFL)
					continue;
			} else if (sigismember(kind ? &pending : &blocked, number) != 1) {
				continue;
			}
			printf("%s%d", first ? "" : ",", number);
			first = 0;
		}
		puts("],");
	}
}

static void print_process(void)
{
	char cwd[4096], tty[256] = "";
	int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct timeval zero = { 0, 0 };
	struct itimerval timer = { zero, zero };
	mode_t mask = umask(0);
	umask(mask);
	printf("\"pid\":%d,\"ppid\":%d,\"group\":%d,\"session\":%d,\"umask\":%u,\n", getpid(), getppid(), getpgrp(), getsid(0), mask);
	printf("\"hasTerminal\":%s,\"foreground\":%d,", terminal >= 0 ? "true" : "false", terminal >= 0 ? tcgetpgrp(terminal) : -1);
	if (ttyname_r(0, tty, sizeof tty))
		tty[0] = 0;
	printf("\"isatty\":[%d,%d,%d],\"tty\":\"%s\",\n", isatty(0), isatty(1), isatty(2), tty);
	errno = 0;
	printf("\"nice\":%d,\"scheduler\":%d,", getpriority(PRIO_PROCESS, 0), sched_getscheduler(0));
	getitimer(ITIMER_REAL, &timer);
	printf("\"timer\":%ld,\"parentDeathSignal\":", (long)timer.it_value.tv_sec);
	int death = 0;
	prctl(PR_GET_PDEATHSIG, &death);
	printf("%d,\"dumpable\":%d,\"noNewPrivs\":%d,\"seccomp\":%d,\"subreaper\":", death, prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
	       prctl(PR_GET_SECCOMP));
	int reaper = 0;
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	printf("%d,\"timerSlack\":%d,\n\"cwd\":", reaper, prctl(PR_GET_TIMERSLACK));
	print_string(getcwd(cwd, sizeof cwd) ? cwd : "");
	printf(",\"uid\":[%d,%d],\"gid\":[%d,%d],", getuid(), geteuid(), getgid(), getegid());
	char comm[32] = "";
	prctl(PR_GET_NAME, comm);
	printf("\"comm\":");
	print_string(comm);
	puts(",");
}

// A program that waits for all children must come to an end: 10 is ECHILD, 0 "there is one, and it runs".
static void print_children(void)
{
	int status, result = waitpid(-1, &status, WNOHANG | __WALL);
	printf("\"children\":\"%s\",", result < 0 && errno == ECHILD ? "none" : result ? "ended" : "running");
}

static void print_affinity(void)
{
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	sched_getaffinity(0, sizeof cpus, &cpus);
	printf("\"cpus\":[");
	for (int cpu = 0, first = 1; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &cpus))
			continue;
		printf("%s%d", first ? "" : ",", cpu);
		first = 0;
	}
	puts("],");
}

int main(int argc, char **argv)
{
	static char out[1 << 20];
	setvbuf(stdout, out, _IOFBF, sizeof out);
	(void)argc;
	puts("{");
	print_children();
	print_descriptors();
	print_limits();
	print_signals();
	print_affinity();
	print_process();
	print_list("argv", argv);
	print_list("environment", environ);
	print_file("status", "/proc/self/status");
	print_file("uidMap", "/proc/self/uid_map");
	print_file("gidMap", "/proc/self/gid_map");
	print_file("cgroup", "/proc/self/cgroup");
	print_file("mountinfo", "/proc/self/mountinfo");
	puts("\"end\":true}");
	return 0;
}
