// SPDX-License-Identifier: Apache-2.0
#include "runtime.h"

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
#include "spawn.h"

enum { DAY_SECONDS = 24 * 3600, WAIT_SECONDS = 60, LIST_BYTES = 1 << 16, BLOCK_CACHE_BYTES = 16 << 20 };

void name_runtime(const struct section *section, char name[48])
{
	int size = snprintf(name, 48, "runtime-");
	for (int i = 0; i < 16; i++)
		size += snprintf(name + size, 48 - (size_t)size, "%02x", section->sha256[i]);
}

int open_complete(int cache, const char *name, struct identity *identity)
{
	struct stat st;
	int dir = openat(cache, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return -1;
	if (!fstat(dir, &st) && st.st_uid == geteuid() && !(st.st_mode & 022) && check_file_list(dir)) {
		// Tells the sweep of a later version that this one is in use; once a day is enough.
		if (time(NULL) - st.st_mtime > DAY_SECONDS)
			utimensat(cache, name, NULL, AT_SYMLINK_NOFOLLOW);
		if (identity)
			*identity = (struct identity){ st.st_dev, st.st_ino, st.st_mtim };
		return dir;
	}
	close(dir);
	return -1;
}

int is_same_runtime(const struct identity *one, const struct identity *other)
{
	return one->device == other->device && one->inode == other->inode && one->changed.tv_sec == other->changed.tv_sec &&
		one->changed.tv_nsec == other->changed.tv_nsec;
}

int is_usable(int cache, const char *name, const struct identity *damaged)
{
	struct identity found;
	OWN_FD dir = open_complete(cache, name, &found);
	return dir >= 0 && !(damaged && is_same_runtime(&found, damaged));
}

// The lock says who unpacks. Where locks do not work the rename decides: then -1 in *lock, and the caller goes on without.
// 1: somebody else finished meanwhile.
static int wait_for_turn(int cache, const char *name, const struct identity *damaged, int *lock)
{
	struct timespec pause = { 0, 2000000 }, start, now;
	*lock = openat(cache, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*lock < 0)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (flock(*lock, LOCK_EX | LOCK_NB)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		// A stopped process may hold the lock for ever; after a minute two that unpack are better than none.
		if ((errno != EWOULDBLOCK && errno != EINTR) || now.tv_sec - start.tv_sec > WAIT_SECONDS) {
			close_fd(lock);
			return 0;
		}
		nanosleep(&pause, NULL);
		if (is_usable(cache, name, damaged))
			return 1;
		if (pause.tv_nsec < 20000000)
			pause.tv_nsec += 2000000;
	}
	return 0;
}

static int make_temporary(int cache, char name[48])
{
	for (unsigned attempt = 0; attempt < 1000; attempt++) {
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		snprintf(name, 48, "tmp-%ld-%06lx", (long)getpid(), (unsigned long)(now.tv_nsec + attempt) & 0xffffff);
		if (!mkdirat(cache, name, 0700))
			return openat(cache, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

// In a child: threads, memory and umask of the unpacking are no business of the process that becomes the command.
static int extract_section(const struct bundle *bundle, const struct section *section, int dir, struct fault *why)
{
	int pipes[2];
	if (pipe2(pipes, O_CLOEXEC))
		return fault(why, errno, "make a pipe");
	pid_t child = spawn_child();
	if (child < 0) {
		int error = errno;
		close(pipes[0]);
		close(pipes[1]);
		return fault(why, error, "start a process");
	}
	if (child == 0) {
		struct image *image;
		struct extract_options options = { 0 };
		struct extract_report done;
		struct fault failed;
		umask(077);
		raise_limits();
		signal(SIGXFSZ, SIG_IGN);
		if (image_open(&image, bundle->file, section->offset, section->size, BLOCK_CACHE_BYTES, &failed) ||
		    extract_tree(image, dir, &options, &done, &failed)) {
			(void)!write(pipes[1], &failed, sizeof failed);
			_exit(EXIT_OWN_FAILURE);
		}
		_exit(0);
	}
	close(pipes[1]);
	int told = !read_exactly(pipes[0], why, sizeof *why, -1), status = reap_child(child);
	close(pipes[0]);
	if (told)
		return -1;
	return status ? fault(why, 0, "unpack the runtime: the process that did it ended with wait status %#x", (unsigned)status) : 0;
}

static int fill(const struct bundle *bundle, const struct section *section, int dir, struct fault *why)
{
	if (extract_section(bundle, section, dir, why))
		return -1;
	// The image's root may be more open, and as old as its build.
	if (fchmod(dir, 0700) || write_file_list(dir) || futimens(dir, NULL))
		return fault(why, errno, "write the list of the unpacked runtime");
	return 0;
}

// Puts the finished directory in its place. Somebody else's finished one is as good; a broken one is moved away first.
static int install(int cache, const char *temporary, const char *name, const struct identity *damaged, struct fault *why)
{
	if (!is_usable(cache, name, damaged))
		retire_below(cache, name);
	if (!renameat(cache, temporary, cache, name))
		return 0;
	int error = errno;
	remove_below(cache, temporary);
	return is_usable(cache, name, damaged) ? 0 : fault(why, error, "rename %s to %s", temporary, name);
}

static int unpack_alone(const struct bundle *bundle, const struct section *section, int cache, const char *name, const struct identity *damaged,
	struct dir_fact *fact, struct fault *why)
{
	char temporary[48];
	// Free space is only looked at: allocating it costs as much as writing it on a tmpfs, and a quota that stops the writing moves us on.
	if (dir_measure(cache, 0, fact))
		return fault(why, fact->error, "%s", fact->step);
	if (fact->free_bytes < section->raw_size + LIST_BYTES)
		return fault(why, ENOSPC, "unpack the runtime");
	OWN_FD dir = make_temporary(cache, temporary);
	if (dir < 0)
		return fault(why, errno, "make a directory");
	if (fill(bundle, section, dir, why)) {
		remove_below(cache, temporary);
		return -1;
	}
	return install(cache, temporary, name, damaged, why);
}

int unpack_runtime(const struct bundle *bundle, int cache, const char *name, const struct identity *damaged, struct dir_fact *fact, struct fault *why)
{
	const struct section *section = bundle_section(bundle, "runtime");
	int lock, result = 0;
	if (wait_for_turn(cache, name, damaged, &lock))
		return 0;
	// Only the one whose turn it is measures the space: a hundred first starts must not reserve it a hundred times.
	if (!is_usable(cache, name, damaged)) {
		result = unpack_alone(bundle, section, cache, name, damaged, fact, why);
		if (!result)
			sweep_cache(cache, name, lock >= 0 && !fact->network);
	}
	if (lock >= 0)
		flock(lock, LOCK_UN);
	close_fd(&lock);
	return result;
}
