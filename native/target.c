// SPDX-License-Identifier: Apache-2.0
// Targets: never touch a directory that is somebody else's.
#include "target.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "nest.h"

#define MARK ".bundler"
#define MARK_HEAD "bundler 1\ndigest "

static int refuse(const struct target *target, const char *what, struct fault *why)
{
	fault(why, 0, "unpack into %s: %s", target->shown, what);
	return fault_hint(why, "name a directory that does not exist yet, with --target, or move that one away");
}

// Splits the mark's text in place; false when it is not one.
static bool read_mark(int mark, char *text, size_t size, char **digest, bool *keep)
{
	ssize_t got = pread(mark, text, size - 1, 0);
	char *end;

	text[got > 0 ? got : 0] = 0;
	if (strncmp(text, MARK_HEAD, strlen(MARK_HEAD)) != 0)
		return false;
	*digest = text + strlen(MARK_HEAD);
	end = strchr(*digest, '\n');
	if (!end)
		return false;
	*end = 0;
	*keep = strcmp(end + 1, "keep\n") == 0;
	return *keep || strcmp(end + 1, "temporary\n") == 0;
}

static int inspect_mark(const struct target *target, int mark, struct fault *why)
{
	char text[512], *digest;
	bool keep;

	if (!read_mark(mark, text, sizeof text, &digest, &keep))
		return refuse(target, "it exists and its " MARK " file is not ours", why);
	if (!keep) {
		if (flock(mark, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
			return refuse(target, "another run uses it and will remove it", why);
		return target_remove(target, why) < 0 ? -1 : TARGET_ABSENT;
	}
	if (strcmp(digest, target->digest) != 0) {
		fault(why, 0, "unpack into %s: it holds another image (digest %.100s, and this one's is %.100s)", target->shown, digest, target->digest);
		return fault_hint(why, "name another directory with --target, or remove that one");
	}
	if (flock(mark, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return refuse(target, "another process is changing it", why);
	return TARGET_COMPLETE;
}

int target_inspect(const struct target *target, int *mark, struct fault *why)
{
	OWN_FD dir = openat(target->parent, target->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN_FD fd = -1;
	struct stat facts;
	int state;

	if (dir < 0 && errno == ENOENT)
		return TARGET_ABSENT;
	if (dir < 0 && (errno == ENOTDIR || errno == ELOOP))
		return refuse(target, "it exists and is not a directory", why);
	if (dir < 0 || fstat(dir, &facts) < 0)
		return fault(why, errno, "open %s", target->shown);
	if (facts.st_uid != geteuid())
		return refuse(target, "it exists and belongs to another user", why);
	fd = openat(dir, MARK, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return refuse(target, "it exists and no run of this bundle made it", why);
	state = inspect_mark(target, fd, why);
	if (state == TARGET_COMPLETE) {
		*mark = fd;
		fd = -1;
	}
	return state;
}

int target_mark(int root, const char *digest, bool keep, struct fault *why)
{
	int fd;

	// the image may have been made from such a directory
	if (unlinkat(root, MARK, 0) < 0 && errno != ENOENT)
		return fault(why, errno, "mark the unpacked tree: the image has a directory " MARK);
	fd = openat(root, MARK, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || dprintf(fd, MARK_HEAD "%s\n%s\n", digest, keep ? "keep" : "temporary") < 0) {
		fault(why, errno, "mark the unpacked tree");
		close_fd(&fd);
		return -1;
	}
	if (flock(fd, LOCK_SH | LOCK_NB) < 0) {
		// a file system without locks: the name alone has to do
	}
	return fd;
}

int target_prefix(const struct target *target, char *prefix, unsigned size, struct fault *why)
{
	if ((unsigned)snprintf(prefix, size, "%s.partial-", target->name) < size)
		return 0;
	return fault(why, ENAMETOOLONG, "unpack into %s", target->shown);
}

int target_remove(const struct target *target, struct fault *why)
{
	struct nest nest = NEST_NONE;
	char prefix[NAME_MAX + 1];
	OWN_FD dir = openat(target->parent, target->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int status;

	// a directory moves to another parent only when it is writable (rename(2))
	if (dir >= 0)
		fchmod(dir, 0700);
	if (target_prefix(target, prefix, sizeof prefix, why) < 0 || nest_make(&nest, target->parent, prefix, why) < 0)
		return -1;
	if (renameat(target->parent, target->name, nest.dir, "root") < 0)
		status = fault(why, errno, "remove %s", target->shown);
	else
		status = 0;
	if (nest_remove(&nest, why) < 0)
		status = -1;
	nest_close(&nest);
	return status;
}
