// SPDX-License-Identifier: Apache-2.0
// Nests: made, locked, swept.
#include "nest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "extract.h"

#define STARTING ".bundler-starting-"
enum { RANDOM_SIZE = 6, STALE_SECONDS = 60 };

static void add_random(char *name, size_t size, const char *prefix)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	unsigned char noise[RANDOM_SIZE];
	char tail[RANDOM_SIZE + 1] = "";

	if (getrandom(noise, sizeof noise, 0) != sizeof noise) {
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		for (size_t i = 0; i < sizeof noise; i++)
			noise[i] = (unsigned char)((unsigned long)now.tv_nsec >> (4 * i));
	}
	for (size_t i = 0; i < RANDOM_SIZE; i++)
		tail[i] = letters[noise[i] % (sizeof letters - 1)];
	snprintf(name, size, "%s%s", prefix, tail);
}

static int make_directory(int parent, const char *prefix, char *name, size_t size)
{
	for (int tries = 0; tries < 100; tries++) {
		add_random(name, size, prefix);
		if (mkdirat(parent, name, 0700) == 0)
			return 0;
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

// flock(2) may be missing on a network file system: then nests there are never swept, which is the safe side.
static int fill(struct nest *nest, const char *name)
{
	struct utsname host;

	nest->dir = openat(nest->parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (nest->dir < 0)
		return -1;
	nest->lock = openat(nest->dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (nest->lock < 0 || mkdirat(nest->dir, "root", 0700) < 0)
		return -1;
	uname(&host);
	dprintf(nest->lock, "%s\n", host.nodename);
	if (flock(nest->lock, LOCK_EX | LOCK_NB) < 0 && errno != ENOLCK && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
		return -1;
	return 0;
}

int nest_make(struct nest *nest, int parent, const char *prefix, struct fault *why)
{
	char starting[64];
	int error;

	*nest = (struct nest)NEST_NONE;
	if (strlen(prefix) + RANDOM_SIZE > NAME_MAX)
		return fault(why, ENAMETOOLONG, "make a directory beside %s", prefix);
	nest->parent = fcntl(parent, F_DUPFD_CLOEXEC, 3);
	if (nest->parent < 0 || make_directory(parent, STARTING, starting, sizeof starting) < 0)
		goto failed;
	// made under another name, so that no sweep meets it before it is locked
	if (fill(nest, starting) == 0) {
		for (int tries = 0; tries < 100; tries++) {
			add_random(nest->name, sizeof nest->name, prefix);
			if (faccessat(parent, nest->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && renameat(parent, starting, parent, nest->name) == 0)
				return 0;
			if (errno != EEXIST && errno != ENOTEMPTY)
				break;
		}
	}
	error = errno;
	if (nest->dir >= 0) {
		unlinkat(nest->dir, "root", AT_REMOVEDIR);
		unlinkat(nest->dir, "lock", 0);
	}
	unlinkat(parent, starting, AT_REMOVEDIR);
	errno = error;
failed:
	fault(why, errno, "make a directory to unpack into");
	nest_close(nest);
	return -1;
}

void nest_note_user(int lock, const struct nest_user *user)
{
	struct utsname host;
	char text[sizeof host.nodename + 64];
	int size;

	uname(&host);
	size = user->is_root ? snprintf(text, sizeof text, "%s\nroot %llu %llu\n", host.nodename, (unsigned long long)user->inode, (unsigned long long)user->device)
		: snprintf(text, sizeof text, "%s\n%llu\n", host.nodename, (unsigned long long)user->inode);
	if (pwrite(lock, text, (size_t)size, 0) != size) {
		// a full disk: the sweep then has only the lock to go by
	}
}

// What hooks of the host were staged with, where the process that should have removed it was killed.
static void remove_staged(const struct nest *nest)
{
	OWN_FD run = openat(nest->dir, "run", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct fault ignored;

	if (run >= 0 && remove_tree(run, &ignored) == 0)
		unlinkat(nest->dir, "run", AT_REMOVEDIR);
}

int nest_remove(struct nest *nest, struct fault *why)
{
	OWN_FD root = openat(nest->dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int status = 0;

	remove_staged(nest);
	if (root < 0 && errno == EACCES && fchmodat(nest->dir, "root", 0700, 0) == 0)
		root = openat(nest->dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root >= 0) {
		fchmod(root, 0700);
		status = remove_tree(root, why);
	}
	if (unlinkat(nest->dir, "root", AT_REMOVEDIR) < 0 && errno != ENOENT) {
		if (status == 0)
			fault(why, errno, "remove %s/root", nest->name);
		return -1;
	}
	if (unlinkat(nest->dir, "lock", 0) < 0 && errno != ENOENT)
		return fault(why, errno, "remove %s/lock", nest->name);
	if (unlinkat(nest->parent, nest->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return fault(why, errno, "remove %s", nest->name);
	return 0;
}

void nest_close(struct nest *nest)
{
	close_fd(&nest->parent);
	close_fd(&nest->dir);
	close_fd(&nest->lock);
}

int nest_user_lives(const struct nest_user *user)
{
	DIR *list = opendir("/proc");
	const struct dirent *entry;
	int lives = 0;

	if (!list)
		return 1;
	while (!lives && (entry = readdir(list))) {
		char path[300];
		struct stat facts;
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "%s/%s", entry->d_name, user->is_root ? "root" : "ns/mnt");
		lives = fstatat(dirfd(list), path, &facts, 0) == 0 && facts.st_ino == user->inode && (!user->is_root || facts.st_dev == user->device);
	}
	closedir(list);
	return lives;
}

static bool is_nest_name(const char *name, const char *prefix)
{
	size_t size = strlen(prefix);

	return strncmp(name, prefix, size) == 0 && strlen(name) == size + RANDOM_SIZE && strspn(name + size, "abcdefghijklmnopqrstuvwxyz0123456789") == RANDOM_SIZE;
}

// Reads what the lock says; true when its nest was made on this host and no process uses it.
static bool is_abandoned(int lock)
{
	struct utsname host;
	struct nest_user user = {0};
	char text[256] = "", *line;
	ssize_t size = pread(lock, text, sizeof text - 1, 0);

	uname(&host);
	if (size <= 0 || !(line = strchr(text, '\n')))
		return true;
	*line++ = 0;
	if (strcmp(text, host.nodename) != 0)
		return false;
	if (!*line)
		return true;
	user.is_root = strncmp(line, "root ", 5) == 0;
	user.inode = strtoull(line + (user.is_root ? 5 : 0), &line, 10);
	user.device = strtoull(line, NULL, 10);
	return !nest_user_lives(&user);
}

// Opens a nest that nobody uses, and holds its lock.
static bool open_dead(struct nest *nest, int parent, const char *name)
{
	struct stat facts;

	*nest = (struct nest)NEST_NONE;
	nest->parent = fcntl(parent, F_DUPFD_CLOEXEC, 3);
	nest->dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	snprintf(nest->name, sizeof nest->name, "%s", name);
	if (nest->parent < 0 || nest->dir < 0 || fstat(nest->dir, &facts) < 0 || facts.st_uid != geteuid())
		return false;
	nest->lock = openat(nest->dir, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (nest->lock < 0)
		return errno == ENOENT;   // a removal that was interrupted at its end
	if (flock(nest->lock, LOCK_EX | LOCK_NB) < 0 || !is_abandoned(nest->lock))
		return false;
	// A dead namespace's number is soon another's, such as that of the container which starts now: who looks again must find it dead.
	if (ftruncate(nest->lock, 0) < 0) {
		// a later start will remove it
	}
	return true;
}

// What a crash in the moment before the first rename left: empty but for its lock and an empty root.
static void sweep_starting(int parent, const char *name)
{
	OWN_FD dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat facts;

	if (dir < 0 || fstat(dir, &facts) < 0 || facts.st_uid != geteuid() || time(NULL) - facts.st_mtime < STALE_SECONDS)
		return;
	unlinkat(dir, "root", AT_REMOVEDIR);
	unlinkat(dir, "lock", 0);
	unlinkat(parent, name, AT_REMOVEDIR);
}

static bool is_wanted(const char *name, const char *prefix)
{
	return prefix ? is_nest_name(name, prefix) : is_nest_name(name, NEST_PREFIX) || is_nest_name(name, NEST_LAYER_PREFIX);
}

unsigned nest_sweep(int parent, const char *prefix, int remove)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	unsigned dead = 0;

	if (!list) {
		close_fd(&fd);
		return 0;
	}
	while ((entry = readdir(list))) {
		struct nest nest;
		struct fault why;
		if (is_nest_name(entry->d_name, STARTING))
			sweep_starting(parent, entry->d_name);
		if (!is_wanted(entry->d_name, prefix))
			continue;
		if (open_dead(&nest, parent, entry->d_name)) {
			dead++;
			if (remove)
				nest_remove(&nest, &why);
		}
		nest_close(&nest);
	}
	closedir(list);
	return dead;
}

int nest_wait(int parent, const char *prefix)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int waited = 0;

	if (!list) {
		close_fd(&fd);
		return 0;
	}
	while ((entry = readdir(list))) {
		char path[NAME_MAX + 8];
		OWN_FD lock = -1;
		if (!is_nest_name(entry->d_name, prefix))
			continue;
		snprintf(path, sizeof path, "%s/lock", entry->d_name);
		lock = openat(parent, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		if (lock < 0 || flock(lock, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
			continue;
		while (flock(lock, LOCK_SH) < 0 && errno == EINTR)
			;
		waited = 1;
	}
	closedir(list);
	return waited;
}
