// SPDX-License-Identifier: Apache-2.0
#include "descriptors.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_WITHOUT_LIST = 1 << 20 };

static bool is_kept(int fd, const int *keep, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (keep[i] == fd)
			return true;
	return false;
}

// close_range(2), from Linux 5.9 on: the gaps between the kept ones.
static int close_gaps(unsigned from, const int *keep, size_t count)
{
	for (;;) {
		unsigned next = ~0u;
		for (size_t i = 0; i < count; i++)
			if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next > from && syscall(SYS_close_range, from, next == ~0u ? next : next - 1, 0))
			return -1;
		if (next == ~0u)
			return 0;
		from = next + 1;
	}
}

static int close_listed(unsigned lowest, const int *keep, size_t count)
{
	DIR *list = opendir("/proc/self/fd");
	if (!list)
		return -1;
	// Closing while the directory is read may skip entries: go round until a pass finds none.
	for (bool found = true; found;) {
		found = false;
		rewinddir(list);
		for (const struct dirent *entry; (entry = readdir(list));) {
			int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
			if (fd >= (int)lowest && fd != dirfd(list) && !is_kept(fd, keep, count)) {
				close(fd);
				found = true;
			}
		}
	}
	closedir(list);
	return 0;
}

void close_descriptors(unsigned lowest, const int *keep, size_t count)
{
	struct rlimit limit;

	if (!close_gaps(lowest, keep, count) || !close_listed(lowest, keep, count))
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > MOST_WITHOUT_LIST)
		limit.rlim_cur = MOST_WITHOUT_LIST;
	for (int fd = (int)lowest; fd < (int)limit.rlim_cur; fd++)
		if (!is_kept(fd, keep, count))
			close(fd);
}
