// SPDX-License-Identifier: Apache-2.0
// System calls that came after proot 5.1.0 (syscall/sysnums.list in its source; Debian added renameat2). Unfiltered they would reach files of the host, or start
// programs without proot's loader. Numbers are those of the kernel's tables (arch/x86/entry/syscalls); from 424 on they are the same everywhere.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include "proot.h"

#define SINCE_424 \
	425 /* io_uring_setup: opens files by itself */, 428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */, 431 /* fsconfig */, \
	432 /* fsmount */, 433 /* fspick */, 435 /* clone3: its flags are out of reach */, 437 /* openat2 */, 439 /* faccessat2 */, \
	442 /* mount_setattr */, 443 /* quotactl_fd */, 452 /* fchmodat2 */, 457 /* statmount */, 458 /* listmount */, 463 /* setxattrat */, \
	464 /* getxattrat */, 465 /* listxattrat */, 466 /* removexattrat */, 467 /* open_tree_attr */, 468 /* file_getattr */, 469 /* file_setattr */

static const unsigned short plain[] = { 322 /* execveat */, 332 /* statx */, SINCE_424 };
static const unsigned short compat[] = { 358 /* execveat */, 383 /* statx */, SINCE_424 };

enum { X32_BIT = 0x40000000, COUNT = sizeof plain / sizeof plain[0] };

// Each number jumps to the section's last instruction but one.
static unsigned short add_section(struct sock_filter *filter, unsigned short at, const unsigned short *number)
{
	for (unsigned i = 0; i < COUNT; i++)
		filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number[i], (unsigned char)(COUNT - i), 0);
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	return at;
}

int proot_filter(struct fault *why)
{
	struct sock_filter filter[2 * COUNT + 16];
	unsigned short at = 0;
	struct sock_fprog program = {.filter = filter};

	_Static_assert(sizeof plain == sizeof compat, "two tables of one length");
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, COUNT + 4);
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	// x32 numbers are not ours to know: no distribution has such programs
	filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, COUNT + 1, 0);
	at = add_section(filter, at, plain);
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	at = add_section(filter, at, compat);
	program.len = at;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return fault(why, errno, "filter the system calls that proot does not know");
	return 0;
}
