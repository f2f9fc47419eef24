// SPDX-License-Identifier: Apache-2.0
#include "runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "extract.h"
#include "meeting.h"

enum { UNUSED_SECONDS = 30 * 24 * 3600, ABANDONED_SECONDS = 24 * 3600 };

void remove_below(int cache, const char *name)
{
	struct fault ignored;
	int dir = openat(cache, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0) {
		remove_tree(dir, &ignored);
		close(dir);
	}
	unlinkat(cache, name, AT_REMOVEDIR);
}

void retire_below(int cache, const char *name)
{
	char away[64];
	for (unsigned attempt = 0; attempt < 100; attempt++) {
		snprintf(away, sizeof away, "tmp-old-%ld-%u", (long)getpid(), attempt);
		if (!renameat(cache, name, cache, away)) {
			remove_below(cache, away);
			return;
		}
		if (errno != EEXIST && errno != ENOTEMPTY)
			return;
	}
}

// Calls each for the names in the directory; NULL-safe copies, because each changes the directory.
static void for_names(int cache, void (*each)(int cache, const char *name, void *arg), void *arg)
{
	int copy = openat(cache, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	if (!entries) {
		close_fd(&copy);
		return;
	}
	char **names = NULL;
	size_t count = 0;
	for (struct dirent *entry; (entry = readdir(entries));) {
		char **more = realloc(names, (count + 1) * sizeof *names);
		if (!more)
			break;
		names = more;
		if (!(names[count] = strdup(entry->d_name)))
			break;
		count++;
	}
	closedir(entries);
	for (size_t i = 0; i < count; i++) {
		each(cache, names[i], arg);
		free(names[i]);
	}
	free(names);
}

static int starts_with(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

static int is_older(int cache, const char *name, time_t seconds)
{
	struct stat st;
	return !fstatat(cache, name, &st, AT_SYMLINK_NOFOLLOW) && st.st_uid == geteuid() && time(NULL) - st.st_mtime > seconds;
}

struct sweep { const char *keep; int trust_locks; };

static void sweep_one(int cache, const char *name, void *arg)
{
	const struct sweep *sweep = arg;
	if (starts_with(name, "runtime-") && strcmp(name, sweep->keep) && is_older(cache, name, UNUSED_SECONDS))
		retire_below(cache, name);
	else if (starts_with(name, "tmp-") && (sweep->trust_locks || is_older(cache, name, ABANDONED_SECONDS)))
		remove_below(cache, name);
}

void sweep_cache(int cache, const char *keep, int trust_locks)
{
	struct sweep sweep = { keep, trust_locks };
	for_names(cache, sweep_one, &sweep);
}

struct clearing { const char *path; struct buffer *removed; int locked; };

static void clear_one(int cache, const char *name, void *arg)
{
	const struct clearing *clearing = arg;
	int is_runtime = starts_with(name, "runtime-");
	if (!is_runtime && !(starts_with(name, "tmp-") && (clearing->locked || is_older(cache, name, ABANDONED_SECONDS))))
		return;
	if (is_runtime)
		retire_below(cache, name);
	else
		remove_below(cache, name);
	if (faccessat(cache, name, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT) {
		buffer_add(clearing->removed, clearing->path, strlen(clearing->path));
		buffer_add(clearing->removed, "/", 1);
		buffer_add(clearing->removed, name, strlen(name));
		buffer_add(clearing->removed, "\n", 1);
	}
}

void clear_cache(const char *path, struct buffer *removed)
{
	struct stat st;
	OWN_FD cache = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (cache < 0 || fstat(cache, &st) || st.st_uid != geteuid())
		return;
	OWN_FD lock = openat(cache, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct clearing clearing = { path, removed, lock >= 0 && !flock(lock, LOCK_EX | LOCK_NB) };
	for_names(cache, clear_one, &clearing);
	meeting_sweep(cache);
	if (clearing.locked)
		unlinkat(cache, "lock", 0);
	// Gone when nothing of anybody is left in it.
	if (!rmdir(path)) {
		buffer_add(removed, path, strlen(path));
		buffer_add(removed, "\n", 1);
	}
}
