// SPDX-License-Identifier: Apache-2.0
// Entries: made beside what they replace and renamed over it, so that no reader sees half a file.
#include "entries.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mount_fault.h"
#include "mounts.h"
#include "wire.h"

static int entry_fault(struct fault *why, const char *verb, const char *path)
{
	fault(why, errno, "%s %s in the root filesystem", verb, path);
	if (why->error == EROFS)
		fault_hint(why, "the root is read-only: use --rw");
	return -1;
}

int entry_mkdir(int root, const char *path, mode_t mode, struct fault *why)
{
	OWN_FD fd = path_create(root, path, PATH_MAKE_DIR, mode);
	struct stat facts;

	if (fd < 0 || fstat(fd, &facts) < 0)
		return entry_fault(why, "make the directory", path);
	if (S_ISDIR(facts.st_mode))
		return 0;
	errno = ENOTDIR;
	return entry_fault(why, "make the directory", path);
}

// A name that cannot be in the way of another: ours alone in this directory while we hold it open for a moment.
static void temporary_name(char name[32])
{
	static unsigned count;

	snprintf(name, 32, ".bundler-%d-%u", (int)getpid(), count++);
}

static int write_at(int dir, const char *name, mode_t mode, const void *content, size_t size)
{
	OWN_FD fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -1;
	return write_exactly(fd, content, size) < 0 || fchmod(fd, mode & 07777) < 0 ? -1 : 0;
}

static int rename_over(int dir, const char *from, const char *to)
{
	int error;

	if (renameat(dir, from, dir, to) == 0)
		return 0;
	error = errno;
	unlinkat(dir, from, 0);
	errno = error;
	return -1;
}

int entry_file(int root, const char *path, mode_t mode, const void *content, size_t size, struct fault *why)
{
	char name[NAME_MAX + 1], temporary[32];
	OWN_FD dir = path_parent(root, path, name);

	if (dir < 0)
		return entry_fault(why, "write", path);
	temporary_name(temporary);
	if (write_at(dir, temporary, mode, content, size) < 0) {
		entry_fault(why, "write", path);
		unlinkat(dir, temporary, 0);
		return -1;
	}
	return rename_over(dir, temporary, name) < 0 ? entry_fault(why, "write", path) : 0;
}

int entry_symlink(int root, const char *path, const char *target, struct fault *why)
{
	char name[NAME_MAX + 1], temporary[32];
	OWN_FD dir = path_parent(root, path, name);

	if (dir < 0)
		return entry_fault(why, "make the symlink", path);
	temporary_name(temporary);
	if (symlinkat(target, dir, temporary) < 0)
		return entry_fault(why, "make the symlink", path);
	return rename_over(dir, temporary, name) < 0 ? entry_fault(why, "make the symlink", path) : 0;
}

int entry_inject(struct rootfs *rootfs, const char *path, mode_t mode, const void *content, size_t size, struct fault *why)
{
	char name[32], from[FD_PATH_SIZE], to[FD_PATH_SIZE];
	OWN_FD files = openat(rootfs->staging, "files", O_PATH | O_DIRECTORY | O_CLOEXEC);
	OWN_FD source = -1;
	OWN_FD target = -1;
	OWN_FD mounted = -1;

	snprintf(name, sizeof name, "%u", rootfs->injected++);
	if (files < 0 || write_at(files, name, mode, content, size) < 0)
		return fault(why, errno, "write a private file for %s", path);
	source = openat(files, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	target = path_create(rootfs->fd, path, PATH_MAKE_FILE, 0644);
	if (target < 0)
		return entry_fault(why, "make the mountpoint", path);
	if (mount(fd_path(from, source), fd_path(to, target), NULL, MS_BIND, NULL) < 0)
		return mount_fault(why, errno, "bind", "show a private file on %s", path);
	mounted = path_resolve(rootfs->fd, path, 0);
	if (mounted < 0)
		return entry_fault(why, "find", path);
	return mount_restrict(mounted, MS_RDONLY | MS_NOSUID | MS_NODEV, path, why);
}
