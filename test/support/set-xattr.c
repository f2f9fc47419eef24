// SPDX-License-Identifier: Apache-2.0
// set-xattr FILE NAME VALUE: sets one extended attribute, without following a symlink.
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	if (argc != 4) {
		fputs("usage: set-xattr FILE NAME VALUE\n", stderr);
		return 99;
	}
	if (lsetxattr(argv[1], argv[2], argv[3], strlen(argv[3]), 0) < 0) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
