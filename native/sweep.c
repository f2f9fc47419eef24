// SPDX-License-Identifier: Apache-2.0
// The sweep at every start: cheap when there is nothing to sweep.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "detach.h"
#include "extraction.h"
#include "nest.h"

static unsigned sweep_directory(const char *path, int remove)
{
	OWN_FD dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat facts;

	// a directory of that name in /tmp may be anybody's
	if (dir < 0 || fstat(dir, &facts) < 0 || facts.st_uid != geteuid())
		return 0;
	return nest_sweep(dir, NULL, remove);
}

void extraction_sweep(const struct dirs *dirs)
{
	struct fault why;
	unsigned dead = 0;

	for (size_t i = 0; i < dirs->count; i++)
		dead += sweep_directory(dirs->path[i], 0);
	if (dead == 0 || detach_fork(&why) != 0)
		return;
	detach_settle("bundler-sweep", NULL, 0);
	for (size_t i = 0; i < dirs->count; i++)
		if (sweep_directory(dirs->path[i], 1))
			rmdir(dirs->path[i]);   // only when nothing else is in it
	_exit(0);
}
