// SPDX-License-Identifier: Apache-2.0
// Prints NAME ERRNO for system calls that look at files by path and are younger than proot 5.1.0, with arguments that a kernel would take.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void show(const char *name, long result)
{
	printf("%s %d\n", name, result < 0 ? errno : 0);
}

int main(void)
{
	struct statx facts;
	struct open_how how = {.flags = O_RDONLY};
	char *argv[] = {"true", NULL}, *env[] = {NULL};
	show("statx", syscall(SYS_statx, AT_FDCWD, "/", 0, STATX_BASIC_STATS, &facts));
	show("openat2", syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how));
	show("faccessat2", syscall(SYS_faccessat2, AT_FDCWD, "/", R_OK, 0));
	show("fchmodat2", syscall(452, AT_FDCWD, "/nowhere", 0600, 0));
	show("execveat", syscall(SYS_execveat, AT_FDCWD, "/nowhere", argv, env, 0));
	show("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 0));
	show("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
	show("clone3", syscall(SYS_clone3, NULL, 0));
	return 0;
}
