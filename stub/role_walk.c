// SPDX-License-Identifier: Apache-2.0
// Role walk: everything in an image or a directory, as records.
#include "roles.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include "walk.h"

int walk_role(const struct buffer *facts)
{
	OWN const char *directory = role_fact(facts, "directory");
	uint64_t source, offset, size;
	struct fault why = { 0 };
	int status;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (directory)
		status = walk_directory(directory, 1, &why);
	else if (role_number(facts, "source", &source) || role_number(facts, "offset", &offset) || role_number(facts, "size", &size))
		die(EINVAL, "role walk: a directory, or source, offset and size are needed");
	else
		status = walk_image_at((int)source, offset, size, 1, &why);
	if (status)
		fault_die(&why, EXIT_OWN_FAILURE);
	return 0;
}
