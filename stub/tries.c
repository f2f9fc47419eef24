// SPDX-License-Identifier: Apache-2.0
#include "tries.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "dirs.h"
#include "fault.h"
#include "namespace.h"
#include "nest.h"
#include "probes.h"
#include "spawn.h"

struct outcome { int error; char step[16]; };   // step "": it worked

static void set_outcome(struct outcome *outcome, const char *step)
{
	*outcome = (struct outcome){ .error = step ? errno : 0 };
	snprintf(outcome->step, sizeof outcome->step, "%s", step ? step : "");
}

// Runs try(arg) in a child and brings its outcome back. A child that was killed was denied its first step.
static struct outcome try_in_child(const char *(*try)(int arg), int arg, const char *first_step)
{
	struct outcome outcome;
	int pipes[2];
	pid_t child;
	errno = EPERM;
	set_outcome(&outcome, first_step);
	if (pipe2(pipes, O_CLOEXEC))
		return outcome;
	child = spawn_child();
	if (child == 0) {
		umask(077);
		set_outcome(&outcome, try(arg));
		(void)!write(pipes[1], &outcome, sizeof outcome);
		_exit(0);
	}
	close(pipes[1]);
	if (child > 0) {
		struct outcome told;
		if (!read_exactly(pipes[0], &told, sizeof told, -1))
			outcome = told;
		reap_child(child);
	}
	close(pipes[0]);
	return outcome;
}

static const char *try_layer(int dir)
{
	const char *step;
	if (fchdir(dir))
		return "open";
	if (setxattr(".", "user.bundler", "1", 1, 0))
		return "setxattr";
	step = enter_user_namespace();
	// real root can do without
	if (step && (strcmp(step, "unshare") || geteuid() != 0))
		return step;
	if ((step = enter_mount_namespace()))
		return step;
	return probe_overlay();
}

// In a nest, which a later start sweeps should we be killed.
static struct outcome try_layer_below(int dir)
{
	struct nest nest = NEST_NONE;
	struct fault why;
	struct outcome outcome;
	nest_sweep(dir, NULL, 1);
	if (nest_make(&nest, dir, NEST_LAYER_PREFIX, &why)) {
		errno = why.error;
		set_outcome(&outcome, "create");
		return outcome;
	}
	OWN_FD root = openat(nest.dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	outcome = try_in_child(try_layer, root, "unshare");
	nest_remove(&nest, &why);
	nest_close(&nest);
	return outcome;
}

static void add_text(struct buffer *out, const char *text)
{
	buffer_add(out, text, strlen(text));
}

void try_layers(uint64_t need_bytes, struct buffer *out)
{
	struct dirs dirs;
	int found = 0;
	dirs_candidates(&dirs);
	for (size_t i = 0; i < dirs.count && !found; i++) {
		struct dir_fact fact;
		char line[96];
		OWN_FD dir = dir_probe(dirs.path[i], need_bytes, &fact);
		struct outcome outcome = { .error = fact.error };
		snprintf(outcome.step, sizeof outcome.step, "%s", fact.step);
		if (dir >= 0) {
			outcome = try_layer_below(dir);
			rmdir(dirs.path[i]);   // when nothing else is in it
		}
		found = !outcome.step[0];
		if (found)
			snprintf(line, sizeof line, " ok %llu %s\n", (unsigned long long)fact.free_bytes, fact.fstype);
		else
			snprintf(line, sizeof line, " %s %d\n", outcome.step, outcome.error);
		add_text(out, dirs.path[i]);
		add_text(out, line);
	}
}

// The smallest program that does something: exit(0). elf(5); in the registers' order of syscall(2).
#if defined __x86_64__
static const uint8_t code[] = { 0x31, 0xff, 0x6a, 0x3c, 0x58, 0x0f, 0x05 };                                // xor edi,edi; push 60; pop rax; syscall
enum { MACHINE = EM_X86_64 };
#elif defined __aarch64__
static const uint8_t code[] = { 0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4 };   // mov x0,0; mov x8,93; svc 0
enum { MACHINE = EM_AARCH64 };
#endif

static int write_program(int fd)
{
	enum { BASE = 0x400000 };
	struct { Elf64_Ehdr file; Elf64_Phdr load; uint8_t code[sizeof code]; } program = {
		.file = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC, .e_machine = MACHINE,
			.e_version = EV_CURRENT, .e_entry = BASE + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), .e_phoff = sizeof(Elf64_Ehdr),
			.e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 },
		.load = { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = BASE, .p_paddr = BASE, .p_filesz = sizeof program, .p_memsz = sizeof program,
			.p_align = 0x1000 },
	};
	memcpy(program.code, code, sizeof code);
	return write_exactly(fd, &program, sizeof program);
}

// A file without a name where the file system has such, else one that loses it at once.
static int open_nameless(int dir, char name[40])
{
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
	name[0] = 0;
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT))
		return fd;
	snprintf(name, 40, ".probe-%ld", (long)getpid());
	return openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0700);
}

static const char *try_program(int dir)
{
	char name[40], path[32];
	int status;
	if (dir < 0)
		return "open";
	int fd = open_nameless(dir, name);
	if (fd < 0)
		return "write";
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	// A program that is open for writing is busy.
	int program = write_program(fd) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (name[0])
		unlinkat(dir, name, 0);
	close(fd);
	if (program < 0)
		return "write";
	pid_t child = spawn_child();
	if (child < 0)
		return "fork";
	if (child == 0) {
		char *argv[] = { "probe", NULL }, *env[] = { NULL };
		syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
		_exit(errno);
	}
	status = reap_child(child);
	close(program);
	if (status == 0)
		return NULL;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
	return "exec";
}

void try_exec(int dir, struct buffer *out)
{
	// In a child of its own: an exec'ed child's end raises SIGCHLD, which is not for the process that becomes the command.
	struct outcome outcome = try_in_child(try_program, dir, "exec");
	char line[40];
	if (outcome.step[0])
		snprintf(line, sizeof line, "%s %d", outcome.step, outcome.error);
	else
		snprintf(line, sizeof line, "ok");
	add_text(out, line);
}
