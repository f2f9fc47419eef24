// SPDX-License-Identifier: Apache-2.0
// The root filesystem: a base directory of the host, an optional staging tmpfs over it, the root in there, and the pivot.
#include "rootfs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "loop.h"
#include "mount_fault.h"
#include "mounts.h"

// Any directory will do: it is covered in our mount namespace only. A bare host may have nothing but /proc and /dev, and /dev is still needed.
static const char *const bases[] = {
	"/tmp", "/run", "/var/tmp", "/mnt", "/srv", "/opt", "/home", "/usr", "/etc", "/var", "/sys", "/dev/shm", "/proc/fs", "/proc/irq",
};

// Where nothing is missed: most hosts have an empty one, and nobody looks for a file in the last two.
static const char *const spare_bases[] = {"/mnt", "/srv", "/media", "/opt", "/proc/fs", "/proc/irq"};
enum { SPARE_FULL = 4 };   // from here on also with something in it

static bool is_empty(int directory)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	bool empty = list;

	if (!list) {
		close_fd(&fd);
		return false;
	}
	while (empty && (entry = readdir(list)))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(list);
	return empty;
}

static int open_base(struct rootfs *rootfs, const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		rootfs->base = path;
	return fd;
}

// The first directory that is there; `from` goes on after a base that could not be mounted on.
static int next_base(struct rootfs *rootfs, size_t *from)
{
	size_t spares = rootfs->spare ? sizeof spare_bases / sizeof spare_bases[0] : 0, count = spares + sizeof bases / sizeof bases[0];

	while (*from < count) {
		size_t at = (*from)++;
		int fd = open_base(rootfs, at < spares ? spare_bases[at] : bases[at - spares]);
		if (fd >= 0 && (at >= spares || at >= SPARE_FULL || is_empty(fd)))
			return fd;
		close_fd(&fd);
	}
	errno = ENOENT;
	return -1;
}

int rootfs_choose_base(struct rootfs *rootfs, struct fault *why)
{
	OWN_FD at = rootfs_mountpoint(rootfs, why);
	unsigned room = sizeof rootfs->above / sizeof rootfs->above[0];

	if (at < 0)
		return -1;
	for (unsigned i = 0; i < room; i++) {
		struct stat facts;
		int up;
		if (fstat(at, &facts) < 0 || (i > 0 && facts.st_dev == rootfs->above[i - 1].dev && facts.st_ino == rootfs->above[i - 1].ino))
			break;
		rootfs->above[i].dev = facts.st_dev;
		rootfs->above[i].ino = facts.st_ino;
		rootfs->above_count = i + 1;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0)
			break;
		close_fd(&at);
		at = up;
	}
	return 0;
}

bool rootfs_covers(const struct rootfs *rootfs, int directory)
{
	struct stat facts;

	if (fstat(directory, &facts) < 0)
		return false;
	for (unsigned i = 0; i < rootfs->above_count; i++) {
		if (rootfs->above[i].dev == facts.st_dev && rootfs->above[i].ino == facts.st_ino)
			return true;
	}
	return false;
}

int rootfs_stage(struct rootfs *rootfs, uint64_t size_bytes, struct fault *why)
{
	char data[64] = "mode=0700", path[FD_PATH_SIZE];
	size_t from = 0;
	int error = ENOENT;

	if (size_bytes)
		snprintf(data, sizeof data, "mode=0700,size=%llu", (unsigned long long)size_bytes);
	for (;;) {
		OWN_FD base = next_base(rootfs, &from);
		if (base < 0)
			break;
		if (mount("bundler", fd_path(path, base), "tmpfs", MS_NOSUID | MS_NODEV, data) == 0) {
			error = 0;
			break;
		}
		error = errno;
	}
	if (error)
		return mount_fault(why, error, "tmpfs", "mount a tmpfs to put the root together");
	rootfs->staging = open(rootfs->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootfs->staging < 0 || mkdirat(rootfs->staging, "root", 0755) < 0 || mkdirat(rootfs->staging, "files", 0700) < 0)
		return fault(why, errno, "prepare the tmpfs on %s", rootfs->base);
	return 0;
}

int rootfs_mountpoint(struct rootfs *rootfs, struct fault *why)
{
	size_t from = 0;
	int fd;

	if (rootfs->staging >= 0)
		fd = openat(rootfs->staging, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	else if (rootfs->base)
		fd = open_base(rootfs, rootfs->base);
	else
		fd = next_base(rootfs, &from);
	if (fd >= 0)
		return fd;
	fault(why, errno, "find a directory to mount the root filesystem on");
	return fault_hint(why, "make one: mkdir /tmp");
}

int rootfs_refresh(struct rootfs *rootfs, struct fault *why)
{
	int fd = rootfs_mountpoint(rootfs, why);

	if (fd < 0)
		return -1;
	close_fd(&rootfs->fd);
	rootfs->fd = fd;
	return 0;
}

int rootfs_bind(struct rootfs *rootfs, int source, bool readonly, struct fault *why)
{
	OWN_FD mountpoint = rootfs_mountpoint(rootfs, why);
	char from[FD_PATH_SIZE], to[FD_PATH_SIZE];

	if (mountpoint < 0)
		return -1;
	// MS_REC: without it a directory with mounts that the host has locked is refused
	if (mount(fd_path(from, source), fd_path(to, mountpoint), NULL, MS_BIND | MS_REC, NULL) < 0)
		return mount_fault(why, errno, "bind", "mount the root filesystem's directory");
	if (rootfs_refresh(rootfs, why) < 0)
		return -1;
	return mount_restrict(rootfs->fd, MS_NOSUID | MS_NODEV | (readonly ? MS_RDONLY : 0), "/", why);
}

int rootfs_loop(struct rootfs *rootfs, int file, uint64_t offset, uint64_t size, struct fault *why)
{
	char device[32], to[FD_PATH_SIZE];
	OWN_FD loop = loop_attach(file, offset, size, device, why);
	OWN_FD mountpoint = loop < 0 ? -1 : rootfs_mountpoint(rootfs, why);

	if (mountpoint < 0)
		return -1;
	if (mount(device, fd_path(to, mountpoint), "squashfs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
		return mount_fault(why, errno, "squashfs", "mount the image on %s", device);
	return rootfs_refresh(rootfs, why);
}

int rootfs_protect(struct rootfs *rootfs, struct fault *why)
{
	return mount_restrict(rootfs->fd, MS_RDONLY, "/", why);
}

// pivot_root(".", ".") stacks the old root on the new one, from where it is detached (pivot_root(2)).
static int enter_root(int fd)
{
	if (fchdir(fd) < 0)
		return -1;
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH);
	if (errno != EINVAL)
		return -1;
	return mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ? -1 : 0;
}

int rootfs_pivot(struct rootfs *rootfs, struct fault *why)
{
	if (rootfs->keep_staging) {
		// the tmpfs becomes the namespace's root, and the container's root covers it for good
		if (enter_root(rootfs->staging) < 0)
			return mount_fault(why, errno, "move", "make the staging file system the root");
		if (fchdir(rootfs->fd) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
			return mount_fault(why, errno, "move", "enter the root filesystem");
	} else if (enter_root(rootfs->fd) < 0) {
		return mount_fault(why, errno, "move", "enter the root filesystem");
	}
	if (chdir("/") < 0)
		return fault(why, errno, "enter the root filesystem");
	return 0;
}
