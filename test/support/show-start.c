// SPDX-License-Identifier: Apache-2.0
// Shows what it was started with: arguments, directory, one variable. For images without a shell.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char dir[4096];
	const char *who = getenv("WHO");
	for (int i = 1; i < argc; i++)
		printf("[%s]", argv[i]);
	printf(" in %s for %s\n", getcwd(dir, sizeof dir) ? dir : "?", who ? who : "?");
	return 0;
}
