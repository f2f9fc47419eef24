// SPDX-License-Identifier: Apache-2.0
// Files and devices of the host, copied into a plain directory.
#include "plain.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "entries.h"
#include "paths.h"

enum { COPY_MAX = 1 << 20 };

int plain_copy(int root, const char *source, const char *path, mode_t mode, struct fault *why)
{
	OWN_FD fd = open(source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat facts;
	OWN char *content = NULL;
	size_t size = 0;

	if (fd < 0 || fstat(fd, &facts) < 0 || !S_ISREG(facts.st_mode))
		return 0;
	content = malloc(COPY_MAX);
	if (!content)
		return fault(why, ENOMEM, "copy %s", source);
	for (ssize_t got; size < COPY_MAX; size += (size_t)got) {
		got = read(fd, content + size, COPY_MAX - size);
		if (got < 0 && errno != EINTR)
			return fault(why, errno, "read %s", source);
		if (got == 0)
			break;
		if (got < 0)
			got = 0;
	}
	return entry_file(root, path, mode, content, size, why);
}

// Only opening tells whether a device may be used; ENXIO and the like come from the driver.
static int is_usable(int parent, const char *name)
{
	OWN_FD fd = openat(parent, name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 || (errno != EACCES && errno != EPERM);
}

int plain_node(int root, const char *path, struct fault *why)
{
	char name[NAME_MAX + 1];
	OWN_FD parent = path_parent(root, path, name);
	struct stat host, there;
	struct fault missing;

	if (parent < 0)
		return fault(why, errno, "make %s in the root filesystem", path);
	if (stat(path, &host) < 0 || !S_ISCHR(host.st_mode))
		return 0;
	if (fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISCHR(there.st_mode) && there.st_rdev == host.st_rdev && is_usable(parent, name))
			return 0;
		if (!S_ISDIR(there.st_mode))
			unlinkat(parent, name, 0);
	}
	if (mknodat(parent, name, S_IFCHR | (host.st_mode & 07777), host.st_rdev) == 0) {
		if (is_usable(parent, name))
			return 0;
		unlinkat(parent, name, 0);
		errno = EACCES;
	}
	fault(&missing, errno, "the container lacks %s", path);
	fault_print(&missing);
	return 0;
}
