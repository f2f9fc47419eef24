// SPDX-License-Identifier: Apache-2.0
// Resolution inside a root: openat2(2) where the kernel has it, else a walk of our own, which also makes what is missing.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fault.h"
#include "paths.h"

enum { MAX_SYMLINKS = 40 };   // as the kernel's own limit (path_resolution(7))

enum { WALK_NOFOLLOW = 1, WALK_MAKE_DIR = 2, WALK_MAKE_FILE = 4, WALK_PARENT = 8 };

struct walk {
	int root, at;
	unsigned how, links;
	mode_t mode;
	char *name;                // for WALK_PARENT
	char rest[PATH_MAX];       // what is still to be walked
	size_t next;
};

static bool is_same_directory(int a, int b)
{
	struct stat one, other;

	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static int move_to(struct walk *walk, int fd)
{
	if (fd < 0)
		return -1;
	close(walk->at);
	walk->at = fd;
	return 0;
}

// Puts a symlink's target before the rest of the path.
static int enter_symlink(struct walk *walk, int link)
{
	char joined[PATH_MAX];
	ssize_t size = readlinkat(link, "", joined, sizeof joined);
	size_t rest = strlen(walk->rest + walk->next);

	if (size < 0)
		return -1;
	if (size == 0) {
		errno = ENOENT;
		return -1;
	}
	if (++walk->links > MAX_SYMLINKS) {
		errno = ELOOP;
		return -1;
	}
	if ((size_t)size + rest >= sizeof joined) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(joined + size, walk->rest + walk->next, rest + 1);
	memcpy(walk->rest, joined, (size_t)size + rest + 1);
	walk->next = 0;
	return joined[0] == '/' ? move_to(walk, fcntl(walk->root, F_DUPFD_CLOEXEC, 3)) : 0;
}

static int make_part(struct walk *walk, const char *part, bool last)
{
	if (!last || walk->how & WALK_MAKE_DIR) {
		if (mkdirat(walk->at, part, last ? walk->mode : 0755) < 0 && errno != EEXIST)
			return -1;
	} else {
		int fd = openat(walk->at, part, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, walk->mode);
		if (fd < 0 && errno != EEXIST)
			return -1;
		if (fd >= 0)
			close(fd);
	}
	return openat(walk->at, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static int enter_part(struct walk *walk, const char *part, bool last)
{
	bool may_make = last ? walk->how & (WALK_MAKE_DIR | WALK_MAKE_FILE) : walk->how & (WALK_MAKE_DIR | WALK_MAKE_FILE | WALK_PARENT);
	int found = openat(walk->at, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat facts;
	int status;

	if (found < 0 && errno == ENOENT && may_make)
		found = make_part(walk, part, last);
	if (found < 0)
		return -1;
	if (fstat(found, &facts) < 0) {
		close(found);
		return -1;
	}
	if (!S_ISLNK(facts.st_mode) || (last && walk->how & WALK_NOFOLLOW))
		return move_to(walk, found);
	status = enter_symlink(walk, found);
	close(found);
	return status;
}

// One component; 1: there is more, 0: done, -1: errno.
static int step(struct walk *walk)
{
	char part[NAME_MAX + 1];
	size_t size;
	bool last;

	walk->next += strspn(walk->rest + walk->next, "/");
	size = strcspn(walk->rest + walk->next, "/");
	if (size == 0) {
		if (!(walk->how & WALK_PARENT))
			return 0;
		errno = EISDIR;   // "/", or a path that ends in ".."
		return -1;
	}
	if (size > NAME_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(part, walk->rest + walk->next, size);
	part[size] = 0;
	walk->next += size;
	last = walk->rest[walk->next + strspn(walk->rest + walk->next, "/")] == 0;
	if (strcmp(part, ".") == 0)
		return 1;
	if (strcmp(part, "..") == 0) {
		if (is_same_directory(walk->at, walk->root))
			return 1;
		return move_to(walk, openat(walk->at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0 ? -1 : 1;
	}
	if (last && walk->how & WALK_PARENT) {
		memcpy(walk->name, part, size + 1);
		return 0;
	}
	return enter_part(walk, part, last) < 0 ? -1 : 1;
}

static int walk_path(int root, const char *path, unsigned how, mode_t mode, char *name)
{
	struct walk walk = {.root = root, .at = -1, .how = how, .mode = mode, .name = name};
	int more;

	if (strlen(path) >= sizeof walk.rest) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(walk.rest, path);
	walk.at = fcntl(root, F_DUPFD_CLOEXEC, 3);
	if (walk.at < 0)
		return -1;
	while ((more = step(&walk)) > 0)
		;
	if (more < 0) {
		int error = errno;
		close(walk.at);
		errno = error;
		return -1;
	}
	return walk.at;
}

// openat2(2), Linux 5.6; seccomp filters older than that answer EPERM.
static int resolve_by_kernel(int root, const char *path, unsigned flags)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | (flags & PATH_NOFOLLOW ? O_NOFOLLOW : 0),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	// EAGAIN: a rename elsewhere raced with ".."; the kernel asks for another try
	for (int tries = 0; tries < 64; tries++) {
		fd = (int)syscall(SYS_openat2, root, path[0] ? path : ".", &how, sizeof how);
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			return fd;
	}
	errno = ENOSYS;
	return -1;
}

int path_resolve(int root, const char *path, unsigned flags)
{
	static bool kernel_lacks_it;
	struct stat facts;
	int fd = -1;

	if (!kernel_lacks_it) {
		fd = resolve_by_kernel(root, path, flags);
		if (fd < 0 && (errno == ENOSYS || errno == EPERM))
			kernel_lacks_it = true;
	}
	if (fd < 0 && kernel_lacks_it)
		fd = walk_path(root, path, flags & PATH_NOFOLLOW ? WALK_NOFOLLOW : 0, 0, NULL);
	if (fd < 0 || !(flags & PATH_DIRECTORY))
		return fd;
	if (fstat(fd, &facts) < 0 || !S_ISDIR(facts.st_mode)) {
		close(fd);
		errno = ENOTDIR;
		return -1;
	}
	return fd;
}

int path_create(int root, const char *path, enum path_kind kind, mode_t mode)
{
	int fd = path_resolve(root, path, 0);

	// what exists is only opened: a read-only root needs no write to be asked for
	if (fd >= 0 || errno != ENOENT)
		return fd;
	return walk_path(root, path, kind == PATH_MAKE_DIR ? WALK_MAKE_DIR : WALK_MAKE_FILE, mode, NULL);
}

int path_parent(int root, const char *path, char name[NAME_MAX + 1])
{
	return walk_path(root, path, WALK_PARENT, 0755, name);
}

const char *fd_path(char buffer[FD_PATH_SIZE], int fd)
{
	snprintf(buffer, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
	return buffer;
}
