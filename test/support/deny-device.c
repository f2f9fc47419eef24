// SPDX-License-Identifier: Apache-2.0
// deny-device CGROUP MAJOR MINOR: refuses a character device to the processes of a control group (v2), as batch systems do for devices of other jobs.
// The program stays attached until the group is removed. Source: bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE in linux/bpf.h.
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(to, field) { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = 1, .off = offsetof(struct bpf_cgroup_dev_ctx, field) }
#define UNLESS(reg, value, skip) { .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = reg, .imm = value, .off = skip }
#define RETURN(value) { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = value }, { .code = BPF_JMP | BPF_EXIT }

static int fail(const char *what)
{
	fprintf(stderr, "deny-device: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int major = atoi(argv[2]), minor = atoi(argv[3]), group = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group < 0)
		return fail(argv[1]);
	struct bpf_insn program[] = { LOAD(2, major), LOAD(3, minor), UNLESS(2, major, 3), UNLESS(3, minor, 2), RETURN(0), RETURN(1) };
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (unsigned long)program, .insn_cnt = sizeof program / sizeof *program,
		.license = (unsigned long)"Apache-2.0",
	};
	int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	if (fd < 0)
		return fail("load the program");
	union bpf_attr attach = { .target_fd = (unsigned)group, .attach_bpf_fd = (unsigned)fd, .attach_type = BPF_CGROUP_DEVICE };
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) ? fail("attach the program") : 0;
}
