// SPDX-License-Identifier: Apache-2.0
// Runs a launch plan from a file, as the launcher does with the planner's reply: plan-run FILE
// plan-run --sweep DIR..: sweeps these directories, as every start does.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../../native/extraction.h"
#include "../../native/plan.h"
#include "../../native/wire.h"

static int sweep(char **path)
{
	struct dirs *dirs = calloc(1, sizeof *dirs);

	if (!dirs)
		return 99;
	for (; *path && dirs->count < DIRS_MAX; path++)
		snprintf(dirs->path[dirs->count++], sizeof dirs->path[0], "%s", *path);
	extraction_sweep(dirs);
	free(dirs);
	return 0;
}

int main(int argc, char **argv)
{
	struct fault why;
	struct plan plan;
	struct stat facts;
	int exe, fd, status;
	char *data;

	if (argc > 2 && strcmp(argv[1], "--sweep") == 0)
		return sweep(argv + 2);
	if (argc != 2) {
		fprintf(stderr, "usage: plan-run FILE | plan-run --sweep DIR..\n");
		return 99;
	}
	exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &facts) < 0 || !(data = malloc((size_t)facts.st_size + 1)) || read_exactly(fd, data, (size_t)facts.st_size, 0) < 0) {
		fprintf(stderr, "plan-run: read %s: %s\n", argv[1], strerror(errno));
		return 99;
	}
	close(fd);
	if (plan_decode(&plan, data, (size_t)facts.st_size, &why) < 0)
		fault_die(&why, EXIT_OWN_FAILURE);
	status = plan_run(&plan, exe, NULL);
	plan_free(&plan);
	free(data);
	return status;
}
