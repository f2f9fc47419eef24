// SPDX-License-Identifier: Apache-2.0
// The second half of a plan that had to wait for what hooks of the host say.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "paths.h"
#include "run.h"
#include "wire.h"

enum { MAX_FILE = 16 << 20 };

// A staged file as the fact file.PATH; nothing where a hook has removed it.
int run_tell_file(const struct rootfs *rootfs, const char *path, struct buffer *facts, struct fault *why)
{
	OWN_FD found = path_resolve(rootfs->staging, path, 0);
	OWN_FD file = -1;
	OWN char *key = NULL;
	OWN char *data = NULL;
	struct stat st;
	char again[FD_PATH_SIZE];

	if (found < 0 && errno == ENOENT)
		return 0;
	file = found < 0 ? -1 : open(fd_path(again, found), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (file < 0 || fstat(file, &st) < 0)
		return fault(why, errno, "read %s after the hooks", path);
	if (!S_ISREG(st.st_mode) || st.st_size > MAX_FILE)
		return fault(why, S_ISREG(st.st_mode) ? EFBIG : EINVAL, "read %s after the hooks", path);
	data = malloc((size_t)st.st_size + 1);
	if (!data || asprintf(&key, "file.%s", path) < 0)
		return fault(why, ENOMEM, "read %s after the hooks", path);
	if (read_exactly(file, data, (size_t)st.st_size, 0) < 0)
		return fault(why, errno, "read %s after the hooks", path);
	facts_add(facts, key, data, (size_t)st.st_size);
	return 0;
}

int run_resume(struct run *run, const struct plan_op *op, int *status, struct fault *why)
{
	struct buffer facts = {0};
	int ended;

	if (run->rootfs.staging < 0 || !run->end || !run->end->resume || run->rest.op)
		return fault(why, 0, "obey the launch plan: resume where it cannot be");
	for (size_t i = 0; i < op->field[0].count; i++) {
		if (run_tell_file(&run->rootfs, op->field[0].list[i], &facts, why) < 0)
			return -1;
	}
	ended = run->end->resume(run->end->arg, &facts, &run->rest, status, why);
	if (ended)
		return ended;
	run->plan = &run->rest;
	free(run->mounts);
	run->mounts = calloc(run->rest.count + 1, sizeof *run->mounts);
	if (!run->mounts)
		return fault(why, ENOMEM, "obey the launch plan");
	return run_open_sources(run, why);
}
