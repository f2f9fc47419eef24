// SPDX-License-Identifier: Apache-2.0
// Removing a directory's content: never follows a link, never leaves the file system, opens what its owner had closed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "extract.h"

// Deeper trees are cut: what is below is first moved up, see flatten().
#define MAX_DEPTH 200u

struct removal { int top; dev_t device; struct fault *why; int failed, moved; unsigned serial; };

static void note(struct removal *run, int error, const char *what, const char *name) {
	if (!run->failed)
		fault(run->why, error, "%s %s", what, name);
	run->failed = 1;
}

// A directory on the same mount, or -1 (EXDEV for a mount point).
static int open_inside(struct removal *run, int dir, const char *name, int flags) {
	struct open_how how = {
		.flags = (uint64_t)(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
	};
	struct stat found;
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
	// Before Linux 5.6 and under some filters there is no openat2: compare devices, which misses bind mounts only.
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dir, name, (int)how.flags);
	if (fd >= 0 && !fstat(fd, &found) && found.st_dev != run->device) {
		close(fd);
		errno = EXDEV;
		return -1;
	}
	return fd;
}

// Opens a directory for reading and removing in it, giving its owner the rights first when they are missing.
static int open_to_empty(struct removal *run, int dir, const char *name) {
	struct stat found;
	int fd = open_inside(run, dir, name, O_RDONLY);
	if (fd < 0 && errno == EACCES) {
		OWN_FD path = open_inside(run, dir, name, O_PATH);
		// fchmod does not take O_PATH; the name is a directory of ours, and a link put in its place by somebody else is not followed
		// because nobody else may write here.
		if (path < 0 || fstat(path, &found) || fchmodat(dir, name, found.st_mode | 0700, 0)) {
			errno = EACCES;
			return -1;
		}
		fd = open_inside(run, dir, name, O_RDONLY);
	}
	if (fd >= 0 && !fstat(fd, &found) && (found.st_mode & 0700) != 0700)
		fchmod(fd, found.st_mode | 0700);
	return fd;
}

static void empty(struct removal *run, int fd, unsigned depth);

// Moves a directory to the top, so that a tree may be deeper than our descriptors last. It is removed later, from there.
static int flatten(struct removal *run, int dir, const char *name) {
	char fresh[64];
	for (int i = 0; i < 1000; i++) {
		snprintf(fresh, sizeof fresh, ".bundler-removed-%ld-%u", (long)getpid(), run->serial++);
		if (renameat2(dir, name, run->top, fresh, RENAME_NOREPLACE) == 0) {
			run->moved = 1;
			return 0;
		}
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

static void remove_directory(struct removal *run, int dir, const char *name, unsigned depth) {
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return;
	if (depth >= MAX_DEPTH && flatten(run, dir, name) == 0)
		return;
	int fd = open_to_empty(run, dir, name);
	if (fd < 0) {
		note(run, errno, errno == EXDEV ? "remove mount point" : "open directory", name);
		return;
	}
	empty(run, fd, depth + 1);
	if (unlinkat(dir, name, AT_REMOVEDIR) && errno != ENOENT)
		note(run, errno, "remove directory", name);
}

static void remove_entry(struct removal *run, int dir, const char *name, unsigned char type, unsigned depth) {
	if (type != DT_DIR && unlinkat(dir, name, 0) == 0)
		return;
	if (type == DT_DIR || errno == EISDIR)
		remove_directory(run, dir, name, depth);
	else if (errno != ENOENT)
		note(run, errno, "remove", name);
}

// Takes over fd.
static void empty(struct removal *run, int fd, unsigned depth) {
	DIR *list = fdopendir(fd);
	if (!list) {
		note(run, errno, "list", "a directory");
		close(fd);
		return;
	}
	struct dirent *entry;
	while (errno = 0, (entry = readdir(list))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_entry(run, dirfd(list), entry->d_name, entry->d_type, depth);
	}
	if (errno)
		note(run, errno, "list", "a directory");
	closedir(list);
}

int remove_tree(int dir, struct fault *why) {
	struct stat found;
	struct removal run = { .why = why };
	why->hint[0] = 0;
	if (fstat(dir, &found))
		return fault(why, errno, "look at the directory to remove");
	run.device = found.st_dev;
	// Our own descriptor: the caller's may be O_PATH, and its position is its own.
	run.top = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run.top < 0)
		return fault(why, errno, "open the directory to remove");
	if ((found.st_mode & 0700) != 0700)
		fchmod(run.top, found.st_mode | 0700);
	do {
		run.moved = 0;
		int fd = openat(run.top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0) {
			note(&run, errno, "open", "the directory to remove");
			break;
		}
		empty(&run, fd, 0);
	} while (run.moved && !run.failed);
	close(run.top);
	return run.failed ? -1 : 0;
}
