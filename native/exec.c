// SPDX-License-Identifier: Apache-2.0
// execve(2) with a shell's rules for finding the command, and errors that name the real cause.
#include "exec.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// The interpreter that a script or a dynamic ELF file names; false when there is none to be read.
static bool read_interpreter(const char *path, char *name, size_t size)
{
	OWN_FD fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	union { char text[256]; Elf64_Ehdr elf; } head = {.text = ""};
	ssize_t got = fd < 0 ? -1 : pread(fd, &head, sizeof head - 1, 0);

	if (got > 2 && memcmp(head.text, "#!", 2) == 0) {
		char *from = head.text + 2 + strspn(head.text + 2, " \t");
		snprintf(name, size, "%.*s", (int)strcspn(from, " \t\r\n"), from);
		return name[0] != 0;
	}
	if (got < (ssize_t)sizeof head.elf || memcmp(head.text, ELFMAG, SELFMAG) != 0 || head.elf.e_ident[EI_CLASS] != ELFCLASS64)
		return false;
	for (unsigned i = 0; i < head.elf.e_phnum; i++) {
		Elf64_Phdr part;
		if (pread(fd, &part, sizeof part, (off_t)(head.elf.e_phoff + (uint64_t)i * sizeof part)) != sizeof part)
			return false;
		if (part.p_type == PT_INTERP) {
			got = pread(fd, name, part.p_filesz < size ? part.p_filesz : size - 1, (off_t)part.p_offset);
			name[got > 0 ? got : 0] = 0;
			return got > 0;
		}
	}
	return false;
}

static bool is_elf(const char *path)
{
	OWN_FD fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char magic[SELFMAG];

	return fd >= 0 && pread(fd, magic, SELFMAG, 0) == SELFMAG && memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int run_by_shell(const char *path, char *const argv[], char *const env[])
{
	size_t count = 0;
	char **args;

	while (argv[count])
		count++;
	args = calloc(count + 2, sizeof *args);
	if (!args)
		return -1;
	args[0] = (char *)(uintptr_t)"/bin/sh";
	args[1] = (char *)(uintptr_t)path;
	for (size_t i = 1; i < count; i++)
		args[i + 1] = argv[i];
	execve(args[0], args, env);
	free(args);
	errno = ENOEXEC;
	return -1;
}

static void try_file(const char *path, char *const argv[], char *const env[])
{
	execve(path, argv, env);
	// a shell would only stumble over another machine's binary
	if (errno == ENOEXEC && !is_elf(path)) {
		run_by_shell(path, argv, env);
		errno = ENOEXEC;
	} else if (errno == ENOEXEC) {
		errno = ELIBBAD;
	}
}

static int explain_denied(const char *path, struct fault *why)
{
	struct stat facts;
	struct statvfs mounted;

	if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) {
		fault(why, EISDIR, "run %s", path);
		return EXIT_NOT_EXECUTABLE;
	}
	fault(why, EACCES, "run %s", path);
	if (stat(path, &facts) == 0 && !(facts.st_mode & 0111))
		fault_hint(why, "it has no permission to be executed: chmod +x, in the image");
	else if (statvfs(path, &mounted) == 0 && mounted.f_flag & ST_NOEXEC)
		fault_hint(why, "it lies on a file system that is mounted noexec; unpack elsewhere: --target DIR or BUNDLER_CACHE_DIR");
	return EXIT_NOT_EXECUTABLE;
}

// What the errno of an execve of an existing name means.
static int explain(int error, const char *path, struct fault *why)
{
	char interpreter[PATH_MAX];
	struct stat facts;

	switch (error) {
	case EACCES:
		return explain_denied(path, why);
	case ELIBBAD:
		fault(why, ENOEXEC, "run %s", path);
		fault_hint(why, "it is a program for another kind of machine");
		return EXIT_NOT_EXECUTABLE;
	case ENOEXEC:
		fault(why, error, "run %s", path);
		fault_hint(why, "it is neither a program nor a script that starts with #!, and the image has no /bin/sh to run it");
		return EXIT_NOT_EXECUTABLE;
	case ENOENT:
	case ENOTDIR:
		if (stat(path, &facts) == 0 && read_interpreter(path, interpreter, sizeof interpreter))
			fault(why, error, "run %s: its interpreter %s is not in the image", path, interpreter);
		else
			fault(why, error, "run %s", path);
		return EXIT_NOT_FOUND;
	case E2BIG:
		fault(why, error, "run %s", path);
		fault_hint(why, "arguments and environment are longer than the kernel takes (ulimit -s)");
		return EXIT_NOT_EXECUTABLE;
	case ECONNABORTED:
	case ENOTCONN:
		fault(why, error, "run %s", path);
		fault_hint(why, "the process that serves the image has ended: if memory is short, dmesg tells; BUNDLER_DRIVER=extract needs none");
		return EXIT_NOT_EXECUTABLE;
	default:
		fault(why, error, "run %s", path);
		return EXIT_NOT_EXECUTABLE;
	}
}

static bool is_elsewhere(int error)
{
	return error == ENOENT || error == ENOTDIR || error == EACCES || error == ESTALE || error == ENODEV || error == ETIMEDOUT || error == ENAMETOOLONG;
}

int exec_command(char *const argv[], char *const env[], const char *search, struct fault *why)
{
	char path[PATH_MAX], blamed[PATH_MAX] = "";
	int blame = 0;
	struct stat facts;

	if (!argv[0] || !argv[0][0]) {
		fault(why, 0, "run a command with an empty name");
		return EXIT_NOT_FOUND;
	}
	if (strchr(argv[0], '/')) {
		try_file(argv[0], argv, env);
		return explain(errno, argv[0], why);
	}
	for (const char *part = search, *end; ; part = end + 1) {
		end = part + strcspn(part, ":");
		// an empty part is the working directory, as in a shell
		if (snprintf(path, sizeof path, "%.*s%s%s", (int)(end - part), part, end > part ? "/" : "./", argv[0]) < (int)sizeof path) {
			try_file(path, argv, env);
			if (!is_elsewhere(errno))
				return explain(errno, path, why);
			// remembered: something of that name is there; a directory is no command
			if ((!blame || blame == ENOENT) && (errno == EACCES || errno == ENOENT)) {
				int error = errno;
				if (stat(path, &facts) == 0 && !S_ISDIR(facts.st_mode)) {
					blame = error;
					strcpy(blamed, path);
				}
			}
		}
		if (!*end)
			break;
	}
	if (blame)
		return explain(blame, blamed, why);
	fault(why, 0, "%s: not found in PATH (%s)", argv[0], search);
	return EXIT_NOT_FOUND;
}
