// SPDX-License-Identifier: Apache-2.0
// Makes the system calls by which package managers change owners and users, by every way into the kernel, and prints what came of each:
// fake-root FILE. A line a call: WAY NAME RESULT (negative: the errno), or "dead" for a way that this kernel does not have.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OTHER = 1234, X32_BIT = 0x40000000 };

static void tell(const char *way, const char *name, long result)
{
	printf("%s %s %ld\n", way, name, result);
}

static void call_plainly(const char *file, int fd)
{
	gid_t groups[] = {OTHER};
	struct stat facts;

#define TELL(call) tell("plain", #call, (errno = 0, (call) < 0 ? -errno : 0))
	TELL(chown(file, OTHER, OTHER));
	TELL(lchown(file, OTHER, OTHER));
	TELL(fchown(fd, OTHER, OTHER));
	TELL(fchownat(AT_FDCWD, file, OTHER, OTHER, 0));
	TELL(setgroups(1, groups));
	TELL(setregid(OTHER, OTHER));
	TELL(setresgid(OTHER, OTHER, OTHER));
	TELL(setgid(OTHER));
	TELL(setreuid(OTHER, OTHER));
	TELL(setresuid(OTHER, OTHER, OTHER));
	TELL(setuid(OTHER));
	tell("plain", "setfsuid", syscall(SYS_setfsuid, OTHER));
	tell("plain", "setfsgid", syscall(SYS_setfsgid, OTHER));
	tell("after", "uid", (long)getuid());
	tell("after", "euid", (long)geteuid());
	tell("after", "gid", (long)getegid());
	tell("after", "owner", stat(file, &facts) < 0 ? -1 : (long)facts.st_uid);
}

#ifdef __x86_64__
// int 0x80 is the 32-bit way into a 64-bit kernel; arguments lie below 4 GiB.
static long call_i386(long number, long a, long b, long c, long d, long e)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static void call_otherwise(const char *file, int fd)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long path = (long)(uintptr_t)low;

	if (low == MAP_FAILED || call_i386(20, 0, 0, 0, 0, 0) != getpid()) {
		puts("i386 dead");
	} else {
		strcpy(low, file);
		tell("i386", "chown", call_i386(182, path, OTHER, OTHER, 0, 0));
		tell("i386", "fchown", call_i386(95, fd, OTHER, OTHER, 0, 0));
		tell("i386", "lchown", call_i386(16, path, OTHER, OTHER, 0, 0));
		tell("i386", "chown32", call_i386(212, path, OTHER, OTHER, 0, 0));
		tell("i386", "fchown32", call_i386(207, fd, OTHER, OTHER, 0, 0));
		tell("i386", "lchown32", call_i386(198, path, OTHER, OTHER, 0, 0));
		tell("i386", "fchownat", call_i386(298, AT_FDCWD, path, OTHER, OTHER, 0));
		for (int i = 0; i < 12; i++) {
			static const int number[] = {23, 46, 70, 71, 164, 170, 213, 214, 203, 204, 208, 210};
			char name[16];
			snprintf(name, sizeof name, "set-%d", number[i]);
			tell("i386", name, call_i386(number[i], OTHER, OTHER, OTHER, 0, 0));
		}
		memset(low, 1, 8);
		tell("i386", "setgroups", call_i386(81, 1, path, 0, 0, 0));
		tell("i386", "setgroups32", call_i386(206, 1, path, 0, 0, 0));
	}
	// without x32 in the kernel an unfiltered number answers ENOSYS
	tell("x32", "chown", (errno = 0, syscall(X32_BIT + SYS_chown, file, OTHER, OTHER) < 0 ? -errno : 0));
	tell("x32", "setuid", (errno = 0, syscall(X32_BIT + SYS_setuid, OTHER) < 0 ? -errno : 0));
}
#else
static void call_otherwise(const char *file, int fd)
{
	(void)file;
	(void)fd;
}
#endif

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;

	if (fd < 0) {
		fprintf(stderr, "fake-root: %s: %s\n", argc == 2 ? argv[1] : "usage: fake-root FILE", strerror(errno));
		return 99;
	}
	call_otherwise(argv[1], fd);
	call_plainly(argv[1], fd);
	// what must go on working as it is
	tell("left", "mknod-whiteout", (errno = 0, mknod("/tmp/whiteout", S_IFCHR, 0) < 0 ? -errno : 0));
	tell("left", "mknod-device", (errno = 0, mknod("/tmp/device", S_IFCHR | 0600, (dev_t)0x103) < 0 ? -errno : 0));
	tell("left", "getuid", (long)getuid());
	return 0;
}
