// SPDX-License-Identifier: Apache-2.0
// A walk of a directory: every step from an open directory, so that nothing outside it is ever read.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "userns.h"
#include "walk_inside.h"
#include "walk_owners.h"

enum { PART = 256 << 10, MAX_VALUE = 65536 };

// The buffers are here, not on the stack: that is deep enough.
struct dir_walk {
	struct walk walk;
	const char *root;
	int let_in;
	struct owners owners;            // once let in
	char part[PART], list[XATTR_LIST_MAX], target[PATH_MAX];
};
struct names { char **name; size_t count, room; };

static int fail(struct dir_walk *run, int error, const char *what) {
	walk_fault(&run->walk, error, what);
	if (error == EACCES || error == EPERM)
		fault_hint(run->walk.why, "read %s as root, or as a user who may read everything in it", run->root);
	return -1;
}

static int compare(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(struct names *names) {
	for (size_t i = 0; i < names->count; i++)
		free(names->name[i]);
	free(names->name);
}

static int names_add(struct names *names, const char *name) {
	if (names->count == names->room) {
		size_t room = names->room ? names->room * 2 : 32;
		char **moved = reallocarray(names->name, room, sizeof *moved);
		if (!moved)
			return -1;
		names->name = moved;
		names->room = room;
	}
	names->name[names->count] = strdup(name);
	return names->name[names->count] ? names->count++, 0 : -1;
}

// After a call that failed for lack of permission: true when it is to be tried again. Modes may forbid even their owner to read (a shadow file, a mountpoint
// of mode 0); in a user namespace of his own they count no more (user_namespaces(7)). Only his own ids are known there: see tell_owners.
static int let_in(struct dir_walk *run) {
	int error = errno;
	struct userns_map map = { geteuid(), geteuid(), getegid(), getegid() };
	struct fault ignored;
	if (error != EACCES || run->let_in || geteuid() == 0)
		return 0;
	run->let_in = 1;
	int failed = owners_start(&run->owners) || userns_enter(&map, &ignored);
	errno = error;
	return !failed;
}

// Corrects the ids of an entry, which is open or `name` in `parent`.
static int tell_owners(struct dir_walk *run, int fd, int parent, const char *name, struct stat *st) {
	if (!run->owners.process)
		return 0;
	OWN_FD found = fd < 0 ? openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (fd < 0)
		fd = found;
	return fd < 0 || owners_tell(&run->owners, fd, st) ? fail(run, errno, "look at") : 0;
}

static int names_read(struct dir_walk *run, int fd, struct names *names) {
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0 && let_in(run))
		copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		close_fd(&copy);
		return fail(run, errno, "read the directory");
	}
	int failed = 0;
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (!entry) {
			failed = errno;
			break;
		}
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (names_add(names, entry->d_name)) {
			failed = ENOMEM;
			break;
		}
	}
	closedir(dir);
	if (names->count)
		qsort(names->name, names->count, sizeof *names->name, compare);
	return failed ? fail(run, failed, "read the directory") : 0;
}

// Of an open file, or of a name in the working directory.
static int add_value(struct dir_walk *run, int fd, const char *name, const char *key) {
	ssize_t size = fd >= 0 ? fgetxattr(fd, key, run->part, MAX_VALUE) : lgetxattr(name, key, run->part, MAX_VALUE);
	if (size < 0 && errno == EOVERFLOW && fd >= 0 && run->owners.process && !strcmp(key, "security.capability"))
		size = owners_capability(&run->owners, fd, run->part, MAX_VALUE);
	// Gone meanwhile, or shown but not to be read.
	if (size < 0)
		return errno == ENODATA || errno == EOPNOTSUPP || errno == EPERM || errno == EACCES ? 0 : fail(run, errno, "read the attributes of");
	return walk_add_xattr(&run->walk, key, run->part, (size_t)size);
}

static int add_xattrs(struct dir_walk *run, int fd, const char *name) {
	char *list = run->list;
	ssize_t size = fd >= 0 ? flistxattr(fd, list, sizeof run->list) : llistxattr(name, list, sizeof run->list);
	if (size < 0)
		return errno == EOPNOTSUPP || errno == EPERM || errno == EACCES ? 0 : fail(run, errno, "read the attributes of");
	for (ssize_t at = 0; at < size; at += (ssize_t)strlen(list + at) + 1)
		if (add_value(run, fd, name, list + at))
			return -1;
	return 0;
}

static int send_content(struct dir_walk *run, int fd, uint64_t size) {
	while (size) {
		ssize_t done = read(fd, run->part, size < PART ? (size_t)size : PART);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fail(run, errno, "read");
		if (done == 0)
			return walk_fault(&run->walk, 0, "it became shorter while it was read:");
		if (walk_send_data(&run->walk, (size_t)done) || walk_send(&run->walk, run->part, (size_t)done))
			return -1;
		size -= (uint64_t)done;
	}
	return 0;
}

static int visit_all(struct dir_walk *run, int fd);

// fd: the open entry, or -1 for what is not opened, which is `name` in `parent`.
static int visit_known(struct dir_walk *run, int fd, int parent, const char *name, struct stat *st, int is_mount) {
	uint64_t identity = 0;
	ssize_t target_size = 0;
	int before = 0;
	if (tell_owners(run, fd, parent, name, st))
		return -1;
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		identity = ++run->walk.identities;
	else if (walk_identify(&run->walk, st->st_ino, st->st_dev, &identity, &before))
		return -1;
	if (S_ISLNK(st->st_mode) && (target_size = readlinkat(parent, name, run->target, sizeof run->target)) < 0)
		return fail(run, errno, "read");
	if (fd < 0 && fchdir(parent))
		return fail(run, errno, "enter the directory of");
	if (add_xattrs(run, fd, name) || walk_send_entry(&run->walk, st, identity, before, run->target, (size_t)target_size))
		return -1;
	if (S_ISDIR(st->st_mode))
		return is_mount ? 0 : visit_all(run, fd);
	return S_ISREG(st->st_mode) && !before ? send_content(run, fd, (uint64_t)st->st_size) : 0;
}

// Opens a directory. *is_mount: something is mounted there (before Linux 5.6, another file system).
static int open_directory(int parent, const char *name, int *is_mount) {
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH };
	struct stat inside, outside;
	*is_mount = 0;
	int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof how);
	if (fd >= 0 || (errno != EXDEV && errno != ENOSYS && errno != EPERM))
		return fd;
	*is_mount = errno == EXDEV;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && !*is_mount)
		*is_mount = fstat(fd, &inside) || fstat(parent, &outside) || inside.st_dev != outside.st_dev;
	return fd;
}

static int look_at(struct dir_walk *run, int parent, const char *name, struct stat *st) {
	int failed = fstatat(parent, name, st, AT_SYMLINK_NOFOLLOW);
	return failed && let_in(run) ? fstatat(parent, name, st, AT_SYMLINK_NOFOLLOW) : failed;
}

static int open_entry(int parent, const char *name, mode_t mode, int *is_mount) {
	return S_ISDIR(mode) ? open_directory(parent, name, is_mount)
		: openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int visit(struct dir_walk *run, int parent, const char *name) {
	struct stat st, now;
	int is_mount = 0;
	if (look_at(run, parent, name, &st))
		return fail(run, errno, "look at");
	if (S_ISSOCK(st.st_mode)) {
		run->walk.skipped++;
		return 0;
	}
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return visit_known(run, -1, parent, name, &st, 0);
	OWN_FD fd = open_entry(parent, name, st.st_mode, &is_mount);
	if (fd < 0 && let_in(run))
		fd = open_entry(parent, name, st.st_mode, &is_mount);
	if (fd < 0 || fstat(fd, &now))
		return fail(run, errno, "open");
	if ((now.st_mode & S_IFMT) != (st.st_mode & S_IFMT))
		return walk_fault(&run->walk, 0, "it was replaced while it was read:");
	return visit_known(run, fd, parent, name, &now, is_mount);
}

static int visit_all(struct dir_walk *run, int fd) {
	struct names names = { 0 };
	size_t path_size = run->walk.path_size;
	if (run->walk.depth == WALK_MAX_DEPTH)
		return walk_fault(&run->walk, 0, "the directories are nested too deep at");
	run->walk.depth++;
	int failed = names_read(run, fd, &names);
	for (size_t i = 0; i < names.count && !failed; i++) {
		failed = walk_enter(&run->walk, names.name[i]) || visit(run, fd, names.name[i]);
		walk_leave(&run->walk, path_size);
	}
	run->walk.depth--;
	names_free(&names);
	return failed ? -1 : 0;
}

// A descriptor for each level is needed.
static void raise_limit(void) {
	struct rlimit limit;
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int walk_directory(const char *path, int output, struct fault *why) {
	struct stat st;
	OWN_FD fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return fault(why, errno, "open the directory %s", path);
	OWN struct dir_walk *run = calloc(1, sizeof *run);
	if (!run)
		return fault(why, ENOMEM, "read %s", path);
	raise_limit();
	run->root = path;
	int status = walk_begin(&run->walk, output, why);
	if (!status)
		status = visit_known(run, fd, -1, "", &st, 0) || walk_end(&run->walk) ? -1 : 0;
	owners_stop(&run->owners);
	walk_release(&run->walk);
	return status;
}
