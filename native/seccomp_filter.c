// SPDX-License-Identifier: Apache-2.0
// The fake-root filter: with a single id mapped, nothing can be given to another owner and nobody can become another user. Package managers do both
// all the time, and stop at the first error; so these system calls succeed without being made. What they ask about afterwards is answered by the
// kernel, truthfully: the caller is root, and so is the owner of every file.
#include "seccomp_filter.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "plan.h"

#define END 0xffffffffu
#define X32_BIT 0x40000000u   // x32 programs: the numbers of x86_64 with this bit (asm/unistd.h)

// Numbers as in the kernel's arch/*/entry/syscalls/*.tbl. Not here, because they work or fail rightly under a single mapped id: capset, mknod (an
// overlay's whiteout is a device too), setxattr of security.capability.
#if defined(__x86_64__)
static const uint32_t x86_64[] = {
	92, 93, 94, 260,              // chown fchown lchown fchownat
	105, 106, 113, 114, 117, 119, // setuid setgid setreuid setregid setresuid setresgid
	116, 122, 123,                // setgroups setfsuid setfsgid
	END,
};
// i386: most calls twice, for 16-bit and for 32-bit ids
static const uint32_t i386[] = {
	182, 95, 16, 212, 207, 198, 298,
	23, 46, 70, 71, 164, 170, 213, 214, 203, 204, 208, 210,
	81, 138, 139, 206, 215, 216,
	END,
};
#else
static const uint32_t aarch64[] = {
	55, 54,                       // fchown fchownat
	146, 144, 145, 143, 147, 149, // setuid setgid setreuid setregid setresuid setresgid
	159, 151, 152,                // setgroups setfsuid setfsgid
	END,
};
// 32-bit arm: the numbers of i386, but for fchownat
static const uint32_t arm[] = {
	182, 95, 16, 212, 207, 198, 325,
	23, 46, 70, 71, 164, 170, 213, 214, 203, 204, 208, 210,
	81, 138, 139, 206, 215, 216,
	END,
};
#endif

// Every way into this machine's kernel: a program for another of them must not find itself without the filter.
static const struct { uint32_t arch; const uint32_t *numbers; uint32_t mask; } ways[] = {
#if defined(__x86_64__)
	{AUDIT_ARCH_X86_64, x86_64, ~X32_BIT},
	{AUDIT_ARCH_I386, i386, ~0u},
#else
	{AUDIT_ARCH_AARCH64, aarch64, ~0u},
	{AUDIT_ARCH_ARM, arm, ~0u},
#endif
};

struct program { struct sock_filter code[80]; unsigned short size; };

static void add(struct program *program, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
	if (program->size < sizeof program->code / sizeof program->code[0])
		program->code[program->size++] = (struct sock_filter)BPF_JUMP(code, k, if_true, if_false);
}

static unsigned char count_numbers(const uint32_t *numbers)
{
	unsigned char count = 0;

	while (numbers[count] != END)
		count++;
	return count;
}

// For each way: is it the one? Then load the number, compare it with the list, and answer. Jumps are relative to the next instruction.
static void write_fake_root(struct program *program)
{
	add(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		uint8_t left = count_numbers(ways[i].numbers);
		add(program, BPF_JMP | BPF_JEQ | BPF_K, ways[i].arch, 0, (uint8_t)(left + 4));
		add(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
		add(program, BPF_ALU | BPF_AND | BPF_K, ways[i].mask, 0, 0);
		for (const uint32_t *number = ways[i].numbers; *number != END; number++)
			add(program, BPF_JMP | BPF_JEQ | BPF_K, *number, left--, 0);
		add(program, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
		add(program, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0, 0, 0);
	}
	add(program, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

// Without that flag kernels before 5.16 turn mitigations on that slow the whole container down; a kernel before 4.17 does not know it.
static int load(const struct program *program)
{
	const struct sock_fprog filter = {.len = program->size, .filter = (struct sock_filter *)(uintptr_t)program->code};

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0)
		return 0;
	return errno == EINVAL ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) : -1;
}

int seccomp_install(unsigned kind, struct fault *why)
{
	struct program program = {.size = 0};

	if (kind != FILTER_FAKE_ROOT)
		return fault(why, 0, "install a seccomp filter: unknown kind %u", kind);
	write_fake_root(&program);
	if (load(&program) == 0)
		return 0;
	fault(why, errno, "install the filter that lets chown and setuid succeed");
	return fault_hint(why, "this kernel may be built without seccomp filters (CONFIG_SECCOMP_FILTER); leave out --root");
}
