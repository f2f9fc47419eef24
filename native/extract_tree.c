// SPDX-License-Identifier: Apache-2.0
// The walker: makes directories, links and special files, and gives regular files to the workers.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "extract_inside.h"

// Larger files are filled by several workers, piece by piece; a multiple of every block size.
#define PIECE_BYTES (4ull << 20)

struct walker { struct extraction *run; struct image_reader *reader; struct place *place; const char *last; int error; };

static struct place *place_new(struct extraction *run, struct place *parent, const char *name, uint64_t ref, int fd) {
	struct place *place = calloc(1, sizeof *place + strlen(name) + 1);
	if (!place)
		return NULL;
	strcpy(place->name, name);
	place->parent = parent;
	place->depth = parent ? parent->depth + 1 : 0;
	place->ref = ref;
	place->fd = fd;
	atomic_init(&place->users, 1);
	place->all = run->places;
	run->places = place;
	return place;
}

void free_places(struct extraction *run) {
	while (run->places) {
		struct place *place = run->places;
		run->places = place->all;
		if (place->fd >= 0)
			close(place->fd);
		free(place);
	}
}

void place_leave(struct extraction *run, struct image_reader *reader, struct place *place) {
	struct image_node node;
	if (atomic_fetch_sub(&place->users, 1) != 1)
		return;
	if (!atomic_load(&run->failed) && !image_stat(reader, place->ref, &node)) {
		// A later hard link may lead into this directory; an ordinary user could not enter it then.
		if ((node.mode & 0700) != 0700)
			place->late = 1;
		else
			finish_fd(run, reader, place->fd, place->ref, place, NULL);
	}
	// The root of the tree stays open: later paths start there.
	if (place->parent) {
		close(place->fd);
		place->fd = -1;
	}
}

int reopen_place(const struct place *place) {
	const struct place *way[MAX_DEPTH + 1];
	size_t depth = 0;
	for (; place->parent; place = place->parent)
		way[depth++] = place;
	int fd = openat(place->fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && depth) {
		int next = openat(fd, way[--depth]->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close_fd(&fd);
		fd = next;
	}
	return fd;
}

int finish_late(struct extraction *run, struct image_reader *reader) {
	for (unsigned depth = MAX_DEPTH + 1; depth-- > 0;) {
		for (struct place *place = run->places; place; place = place->all) {
			if (!place->late || place->depth != depth)
				continue;
			OWN_FD found = reopen_place(place);
			OWN_FD fd = found < 0 ? -1 : openat(found, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd < 0)
				return extract_fail(run, errno, place, NULL, 0, "open again");
			if (finish_fd(run, reader, fd, place->ref, place, NULL))
				return -1;
		}
	}
	return 0;
}

static struct job *job_new(struct place *place, const char *name, const struct image_node *node) {
	struct job *job = calloc(1, sizeof *job + strlen(name) + 1);
	if (!job)
		return NULL;
	strcpy(job->name, name);
	job->place = place;
	job->ref = node->ref;
	job->size = node->size;
	return job;
}

static int no_memory(struct walker *walker, const char *name) {
	return extract_fail(walker->run, ENOMEM, walker->place, name, 0, "unpack");
}

// Cuts a large file into pieces for all workers.
static int give_pieces(struct walker *walker, const struct image_node *node, const char *name, int exists) {
	struct place *place = walker->place;
	uint64_t pieces = (node->size + PIECE_BYTES - 1) / PIECE_BYTES;
	if (pieces > UINT_MAX)
		return extract_fail(walker->run, EFBIG, place, name, node->size, "create");
	int fd = openat(place->fd, name, (exists ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL) | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return extract_fail(walker->run, errno, place, name, node->size, "create");
	struct big_file *big = malloc(sizeof *big);
	if (!big || ftruncate(fd, (off_t)node->size)) {
		int error = big ? errno : ENOMEM;
		close(fd);
		free(big);
		return extract_fail(walker->run, error, place, name, node->size, "create");
	}
	big->fd = fd;
	atomic_init(&big->pieces, (unsigned)pieces);
	for (uint64_t i = 0; i < pieces; i++) {
		struct job *job = job_new(place, name, node);
		if (!job) {
			// The pieces not given count as done; if those given are done already, nobody else closes the file.
			if (atomic_fetch_sub(&big->pieces, (unsigned)(pieces - i)) == pieces - i) {
				close(fd);
				free(big);
			}
			return no_memory(walker, name);
		}
		job->big = big;
		job->offset = i * PIECE_BYTES;
		job->size = node->size - job->offset < PIECE_BYTES ? node->size - job->offset : PIECE_BYTES;
		atomic_fetch_add(&place->users, 1);
		give_job(walker->run, job);
	}
	return 0;
}

static int give_file(struct walker *walker, const struct image_node *node, const char *name) {
	struct place *place = walker->place;
	int exists = node->links > 1;
	if (exists) {
		// Made at once, so that the next link to it finds it.
		int fd = openat(place->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return extract_fail(walker->run, errno, place, name, node->size, "create");
		close(fd);
	}
	if (node->size > PIECE_BYTES)
		return give_pieces(walker, node, name, exists);
	struct job *job = job_new(place, name, node);
	if (!job)
		return no_memory(walker, name);
	job->exists = exists;
	atomic_fetch_add(&place->users, 1);
	give_job(walker->run, job);
	return 0;
}

static int make_link(struct walker *walker, const struct image_node *node, const char *name) {
	char target[PATH_MAX];
	ssize_t size = image_readlink(walker->reader, node->ref, target, sizeof target - 1);
	if (size < 0)
		return extract_fail(walker->run, (int)-size, walker->place, name, 0, "read from the image");
	target[size] = 0;
	if (symlinkat(target, walker->place->fd, name))
		return extract_fail(walker->run, errno, walker->place, name, 0, "create symlink");
	return finish_name(walker->run, walker->reader, node, walker->place, name);
}

static int make_special(struct walker *walker, const struct image_node *node, const char *name) {
	if (mknodat(walker->place->fd, name, (node->mode & S_IFMT) | 0600, node->rdev) == 0)
		return finish_name(walker->run, walker->reader, node, walker->place, name);
	if ((errno != EPERM && errno != EINVAL && errno != EOPNOTSUPP) || S_ISFIFO(node->mode))
		return extract_fail(walker->run, errno, walker->place, name, 0, "create special file");
	pthread_mutex_lock(&walker->run->lock);
	walker->run->report->skipped_devices++;
	pthread_mutex_unlock(&walker->run->lock);
	return 0;
}

static struct first_name *first_name_new(struct place *place, const char *name) {
	size_t size = strlen(name) + 1;
	struct first_name *first = malloc(sizeof *first + size);
	if (first) {
		first->place = place;
		memcpy(first->name, name, size);
	}
	return first;
}

// A name for an inode that was made before.
static int make_hard_link(struct walker *walker, const struct first_name *first, const char *name) {
	struct place *place = walker->place;
	OWN_FD there = reopen_place(first->place);
	if (there >= 0 && linkat(there, first->name, place->fd, name, 0) == 0)
		return 0;
	// The first name is missing when it was a device that could not be made.
	if (there >= 0 && errno == ENOENT) {
		pthread_mutex_lock(&walker->run->lock);
		walker->run->report->skipped_devices++;
		pthread_mutex_unlock(&walker->run->lock);
		return 0;
	}
	return extract_fail(walker->run, errno, place, name, 0, "create hard link to %s", first->name);
}

static int walk_place(struct extraction *run, struct image_reader *reader, struct place *place);

static int make_directory(struct walker *walker, const struct image_node *node, const char *name) {
	struct place *parent = walker->place;
	if (parent->depth >= MAX_DEPTH)
		return extract_fail(walker->run, 0, parent, NULL, 0, "the image has directories nested deeper than %u in", MAX_DEPTH);
	if (mkdirat(parent->fd, name, 0700))
		return extract_fail(walker->run, errno, parent, name, 0, "create directory");
	int fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return extract_fail(walker->run, errno, parent, name, 0, "open directory");
	struct place *place = place_new(walker->run, parent, name, node->ref, fd);
	if (!place) {
		close(fd);
		return no_memory(walker, name);
	}
	return walk_place(walker->run, walker->reader, place);
}

static int make_entry(struct walker *walker, const char *name, const struct image_node *node) {
	if (S_ISDIR(node->mode) || node->links > 1) {
		int before = 0;
		struct known *seen = note_inode(&walker->run->seen, node->ref, &before);
		if (!seen)
			return no_memory(walker, name);
		if (before && S_ISDIR(node->mode))
			return extract_fail(walker->run, EIO, walker->place, name, 0, "damaged image: a directory appears twice");
		if (before)
			return make_hard_link(walker, seen->data, name);
		if (!S_ISDIR(node->mode) && !(seen->data = first_name_new(walker->place, name)))
			return no_memory(walker, name);
	}
	switch (node->mode & S_IFMT) {
	case S_IFDIR: return make_directory(walker, node, name);
	case S_IFREG: return give_file(walker, node, name);
	case S_IFLNK: return make_link(walker, node, name);
	default: return make_special(walker, node, name);
	}
}

static int walk_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next) {
	struct walker *walker = arg;
	struct image_node node;
	(void)type, (void)next, (void)size;   // the reader's names end with a NUL and hold none
	show_progress(walker->run);
	if (atomic_load_explicit(&walker->run->failed, memory_order_relaxed)) {
		walker->error = -1;
		return 1;
	}
	// Sorted, as every sound image is, the same names are neighbours; apart they are found when the second is created.
	if (walker->last && !strcmp(walker->last, name)) {
		walker->error = extract_fail(walker->run, 0, walker->place, NULL, 0, "the image has two entries named \"%.64s\" in", name);
		return 1;
	}
	walker->last = name;
	int error = image_stat(walker->reader, ref, &node);
	walker->error = error ? extract_fail(walker->run, -error, walker->place, name, 0, "read from the image")
		: make_entry(walker, name, &node);
	return walker->error != 0;
}

// Takes over the walker's use of the place.
static int walk_place(struct extraction *run, struct image_reader *reader, struct place *place) {
	struct walker walker = { run, reader, place, NULL, 0 };
	int error = image_list(reader, place->ref, 0, walk_entry, &walker);
	if (error && image_bad_name(reader)[0])
		walker.error = extract_fail(run, 0, place, NULL, 0, "the image has an entry named \"%s\" in", image_bad_name(reader));
	else if (error)
		walker.error = extract_fail(run, -error, place, NULL, 0, "read a directory from the image");
	place_leave(run, reader, place);
	return walker.error;
}

int walk_image(struct extraction *run, struct image_reader *reader, int root) {
	int before;
	struct place *place = place_new(run, NULL, "", image_root(run->image), root);
	if (!place) {
		close(root);
		return extract_fail(run, ENOMEM, NULL, NULL, 0, "unpack");
	}
	if (!note_inode(&run->seen, image_root(run->image), &before)) {
		place_leave(run, reader, place);
		return extract_fail(run, ENOMEM, NULL, NULL, 0, "unpack");
	}
	return walk_place(run, reader, place);
}
