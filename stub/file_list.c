// SPDX-License-Identifier: Apache-2.0
#include "runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 8, MAX_LIST = 1 << 20 };

static int add_lines(int dir, const char *prefix, unsigned depth, FILE *out)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	if (!entries) {
		close_fd(&copy);
		return -1;
	}
	int result = depth ? 0 : -1;
	for (struct dirent *entry; !result && (entry = readdir(entries));) {
		char name[512];
		struct stat st;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !strcmp(entry->d_name, "list"))
			continue;
		int size = snprintf(name, sizeof name, "%s%s", prefix, entry->d_name);
		if (size >= (int)sizeof name - 1 || strchr(name, '\n') || fstatat(copy, entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			result = -1;
		} else if (S_ISDIR(st.st_mode)) {
			OWN_FD below = openat(copy, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			strcat(name, "/");
			result = below < 0 ? -1 : add_lines(below, name, depth - 1, out);
		} else {
			fprintf(out, "%lld %o %s\n", (long long)st.st_size, (unsigned)st.st_mode, name);
		}
	}
	closedir(entries);
	return result;
}

int write_file_list(int dir)
{
	int fd = openat(dir, "list", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out) {
		close_fd(&fd);
		return -1;
	}
	int failed = add_lines(dir, "", MAX_DEPTH, out);
	fputs("end\n", out);
	failed |= ferror(out);
	return fclose(out) || failed ? -1 : 0;
}

static int is_as_listed(int dir, const char *line)
{
	long long size;
	unsigned mode;
	int name = 0;
	struct stat st;
	if (sscanf(line, "%lld %o %n", &size, &mode, &name) != 2 || !name)
		return 0;
	return !fstatat(dir, line + name, &st, AT_SYMLINK_NOFOLLOW) && st.st_size == size && st.st_mode == mode && st.st_uid == geteuid();
}

int check_file_list(int dir)
{
	struct stat st;
	OWN_FD fd = openat(dir, "list", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > MAX_LIST || st.st_uid != geteuid())
		return 0;
	OWN char *text = malloc((size_t)st.st_size + 1);
	if (!text || read_exactly(fd, text, (size_t)st.st_size, 0))
		return 0;
	text[st.st_size] = 0;
	size_t files = 0;
	for (char *line = text, *next; (next = strchr(line, '\n')); line = next + 1, files++) {
		*next = 0;
		if (!strcmp(line, "end"))
			return files > 0;
		if (!is_as_listed(dir, line))
			return 0;
	}
	return 0;
}
