// SPDX-License-Identifier: Apache-2.0
// The directory of --overlay:
//
//   DIR/                   mode 0700 when we make it
//       .bundler           "bundler overlay 1\ndigest HEX\nowners TEXT\n", flock(2)ed for as long as it is in use
//       upper/  work/      of the overlay; upper holds every change, with whiteouts (character devices 0:0) for what was removed
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include "dirs.h"
#include "extract.h"
#include "layer.h"
#include "paths.h"

#define MARK ".bundler"
#define MARK_HEAD "bundler overlay 1\n"
enum { PATIENCE_MS = 1000, PAUSE_MS = 10 };

static int refuse(const struct layer_request *request, const char *what, struct fault *why)
{
	fault(why, 0, "keep the changes in %s: %s", request->dir, what);
	return fault_hint(why, "name another directory: --overlay DIR");
}

// Splits the path into its parent, opened, and its last name.
static int open_parent(struct layer_dir *dir, const struct layer_request *request, struct fault *why)
{
	char parent[PATH_MAX], *slash;
	size_t size = strlen(request->dir);

	while (size > 1 && request->dir[size - 1] == '/')
		size--;
	if (size >= sizeof parent)
		return fault(why, ENAMETOOLONG, "keep the changes in %.60s..", request->dir);
	memcpy(parent, request->dir, size);
	parent[size] = 0;
	slash = strrchr(parent, '/');
	if (!slash || !slash[1] || strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0)
		return refuse(request, "not the name of a directory", why);
	if (strlen(slash + 1) >= sizeof dir->name)
		return fault(why, ENAMETOOLONG, "keep the changes in %.60s..", request->dir);
	strcpy(dir->name, slash + 1);
	slash[slash == parent] = 0;
	dir->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->parent >= 0)
		return 0;
	fault(why, errno, "open %s, to keep the changes in %s", parent, request->dir);
	if (why->error == ENOENT)
		fault_hint(why, "make it first: mkdir -p %s", parent);
	return -1;
}

static bool is_empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	bool empty = list != NULL;

	while (empty && (entry = readdir(list)))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	if (list)
		closedir(list);
	else
		close_fd(&fd);
	return empty;
}

static int open_directory(struct layer_dir *dir, const struct layer_request *request, struct fault *why)
{
	struct stat facts;

	if (mkdirat(dir->parent, dir->name, 0700) == 0)
		dir->made = true;
	else if (errno != EEXIST)
		return fault(why, errno, "make the directory %s", request->dir);
	// a symlink to a directory elsewhere is the user's choice
	dir->dir = openat(dir->parent, dir->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->dir < 0 && errno == ENOTDIR)
		return refuse(request, "it exists and is not a directory", why);
	if (dir->dir < 0 || fstat(dir->dir, &facts) < 0)
		return fault(why, errno, "open the directory %s", request->dir);
	if (facts.st_uid != geteuid())
		return refuse(request, "it belongs to another user", why);
	return 0;
}

// 1: ours; 0: it was removed meanwhile, by a run that had made it and failed; -1.
static int take_mark(struct layer_dir *dir, const struct layer_request *request, struct fault *why)
{
	const struct timespec pause = {0, PAUSE_MS * 1000000};
	struct stat facts;

	if (faccessat(dir->dir, MARK, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT && !is_empty(dir->dir))
		return refuse(request, "it holds other files, and no changes of a bundle", why);
	dir->mark = openat(dir->dir, MARK, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (dir->mark < 0 || fstat(dir->mark, &facts) < 0)
		return errno == ENOENT ? 0 : fault(why, errno, "open %s/" MARK, request->dir);
	if (!S_ISREG(facts.st_mode))
		return refuse(request, "its " MARK " is not ours", why);
	// An earlier run's mounts go a moment after its last process.
	for (int waited_ms = 0; flock(dir->mark, LOCK_EX | LOCK_NB) < 0; waited_ms += PAUSE_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fault(why, errno, "lock %s/" MARK, request->dir);
		if (waited_ms >= PATIENCE_MS) {
			fault(why, 0, "keep the changes in %s: another container is using it", request->dir);
			return fault_hint(why, "wait until that one has ended, or name another directory: two writers would damage each other's files");
		}
		nanosleep(&pause, NULL);
	}
	return fstat(dir->mark, &facts) == 0 && facts.st_nlink > 0;
}

// The rest of the line that begins with key, in text; NULL when there is none. The line is cut off.
static char *find_line(char *text, const char *key)
{
	char *at = strstr(text, key), *end = at ? strchr(at + 1, '\n') : NULL;

	if (!end)
		return NULL;
	*end = 0;
	return at + strlen(key);
}

static int compare_mark(const struct layer_request *request, char *text, struct fault *why)
{
	char *owners, *digest;

	if (strncmp(text, MARK_HEAD, strlen(MARK_HEAD)) != 0)
		return refuse(request, "its " MARK " is not that of an overlay", why);
	owners = find_line(text, "\nowners ");
	digest = find_line(text, "\ndigest ");
	if (!owners || !digest)
		return refuse(request, "its " MARK " is damaged", why);
	if (strcmp(digest, request->digest) != 0) {
		fault(why, 0, "keep the changes in %s: they belong to another image (digest %.100s, and this one's is %.100s)", request->dir, digest, request->digest);
		return fault_hint(why, "name another directory: --overlay DIR");
	}
	if (strcmp(owners, request->owners) != 0) {
		fault(why, 0, "keep the changes in %s: they were written with other user ids (%.100s, and now %.100s)", request->dir, owners, request->owners);
		return fault_hint(why, "start it as the runs before, or name another directory: --overlay DIR");
	}
	return 0;
}

static int check_mark(struct layer_dir *dir, const struct layer_request *request, struct fault *why)
{
	char text[512];
	ssize_t size = pread(dir->mark, text, sizeof text - 1, 0);
	OWN_FD upper = -1;

	if (size < 0)
		return fault(why, errno, "read %s/" MARK, request->dir);
	text[size] = 0;
	if (size > 0)
		return compare_mark(request, text, why);
	// made by a run that was killed, or emptied by a crash of the machine
	upper = openat(dir->dir, "upper", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper >= 0 && !is_empty(upper))
		return refuse(request, "its " MARK " is damaged", why);
	dir->fresh = true;
	if (dprintf(dir->mark, MARK_HEAD "digest %s\nowners %s\n", request->digest, request->owners) < 0 || (fdatasync(dir->mark) < 0 && errno != EINVAL))
		return fault(why, errno, "write %s/" MARK, request->dir);
	return 0;
}

// What an overlay stores beside its files: user.overlay.* (overlayfs.rst, "userxattr").
static int try_xattr(int work)
{
	char path[FD_PATH_SIZE];

	fd_path(path, work);
	return setxattr(path, "user.bundler", "1", 1, 0) < 0 || removexattr(path, "user.bundler") < 0 ? -1 : 0;
}

static int make_inner(const struct layer_dir *dir, const struct layer_request *request, struct fault *why)
{
	OWN_FD work = -1;

	if ((mkdirat(dir->dir, "upper", 0755) < 0 && errno != EEXIST) || (mkdirat(dir->dir, "work", 0700) < 0 && errno != EEXIST))
		return fault(why, errno, "make the directories of the overlay in %s", request->dir);
	work = openat(dir->dir, "work", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (work < 0)
		return fault(why, errno, "open %s/work", request->dir);
	return try_xattr(work) < 0 ? layer_fault(request->dir, work, errno, why) : 0;
}

static void close_dir(struct layer_dir *dir)
{
	close_fd(&dir->parent);
	close_fd(&dir->dir);
	close_fd(&dir->mark);
}

int layer_dir_take(struct layer_dir *dir, const struct layer_request *request, struct fault *why)
{
	int taken = -1;

	do {
		taken = -1;
		close_dir(dir);
		if (open_parent(dir, request, why) < 0 || open_directory(dir, request, why) < 0)
			break;
		taken = take_mark(dir, request, why);
	} while (taken == 0);
	if (taken > 0 && check_mark(dir, request, why) == 0 && make_inner(dir, request, why) == 0)
		return 0;
	layer_dir_remove(dir);
	return -1;
}

static void remove_inner(int dir, const char *name)
{
	OWN_FD inner = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct fault ignored;

	if (inner >= 0)
		remove_tree(inner, &ignored);
	unlinkat(dir, name, AT_REMOVEDIR);
}

void layer_dir_remove(struct layer_dir *dir)
{
	if (dir->fresh) {
		remove_inner(dir->dir, "upper");
		remove_inner(dir->dir, "work");
		unlinkat(dir->dir, MARK, 0);
	}
	if (dir->made)
		unlinkat(dir->parent, dir->name, AT_REMOVEDIR);
}
