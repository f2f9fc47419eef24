// SPDX-License-Identifier: Apache-2.0
// Runs a launch plan from a file, as the launcher does with the planner's reply: plan-run FILE
// plan-run FILE REST FACTS: what follows a `resume` is in REST; the facts that came with it go to FACTS.
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

// The content of a file, in memory that is not freed: plans point into it.
static char *load(const char *path, size_t *size)
{
	struct stat facts;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data = NULL;

	if (fd < 0 || fstat(fd, &facts) < 0 || !(data = malloc((size_t)facts.st_size + 1)) || read_exactly(fd, data, (size_t)facts.st_size, 0) < 0) {
		fprintf(stderr, "plan-run: read %s: %s\n", path, strerror(errno));
		exit(99);
	}
	close(fd);
	*size = (size_t)facts.st_size;
	return data;
}

// Opened before anything is mounted over them.
static struct { char *rest; size_t size; int facts; } later = {.facts = -1};

static int resume(void *arg, struct buffer *facts, struct plan *rest, int *status, struct fault *why)
{
	(void)arg;
	(void)status;
	if (write_exactly(later.facts, facts->data, facts->size) < 0)
		return fault(why, errno, "write the facts");
	buffer_free(facts);
	return plan_decode(rest, later.rest, later.size, why);
}

static void nothing(void *arg) { (void)arg; }

int main(int argc, char **argv)
{
	const struct plan_end end = {.finish = nothing, .resume = resume, .server = -1};
	struct fault why;
	struct plan plan;
	int exe, status;
	size_t size;
	char *data;

	if (argc > 2 && strcmp(argv[1], "--sweep") == 0)
		return sweep(argv + 2);
	if (argc != 2 && argc != 4) {
		fprintf(stderr, "usage: plan-run FILE [REST FACTS] | plan-run --sweep DIR..\n");
		return 99;
	}
	exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	data = load(argv[1], &size);
	if (argc == 4) {
		later.rest = load(argv[2], &later.size);
		later.facts = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	}
	if (plan_decode(&plan, data, size, &why) < 0)
		fault_die(&why, EXIT_OWN_FAILURE);
	status = plan_run(&plan, exe, argc == 4 ? &end : NULL);
	free(later.rest);
	plan_free(&plan);
	free(data);
	return status;
}
