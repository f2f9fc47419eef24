// SPDX-License-Identifier: Apache-2.0
// list-xattrs DIR: prints every extended attribute below a directory, a line each: PATH NAME=VALUE.
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static size_t prefix;

static int print_file(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	char names[65536], value[65536];
	(void)st, (void)kind, (void)at;
	ssize_t size = llistxattr(path, names, sizeof names);
	for (ssize_t i = 0; i < size; i += (ssize_t)strlen(names + i) + 1) {
		ssize_t n = lgetxattr(path, names + i, value, sizeof value);
		printf("%s %s=%.*s\n", path + prefix, names + i, n > 0 ? (int)n : 0, value);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: list-xattrs DIR\n", stderr);
		return 99;
	}
	prefix = strlen(argv[1]);
	return nftw(argv[1], print_file, 64, FTW_PHYS) ? 1 : 0;
}
