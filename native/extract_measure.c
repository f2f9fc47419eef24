// SPDX-License-Identifier: Apache-2.0
// A walk over all inodes of an image: how much they are, and where some names lie.
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "extract_inside.h"

// The names on the way from the root, innermost first. They lie in the listings, which stay while their entries are walked.
struct step { const struct step *up; const char *name; size_t size; };

struct measure {
	struct image_reader *reader;
	const struct name_search *search;   // NULL: none
	const struct step *way;             // to the directory whose entries are walked
	struct known_table seen;
	uint64_t bytes;
	unsigned depth;
	int error;
	char path[PATH_MAX];                // of the entry at hand; not on the stack, which the walk needs
};

struct known *note_inode(struct known_table *table, uint64_t ref, int *before) {
	struct key key = { 0 };
	memcpy(key.bytes, &ref, sizeof ref);
	return known_note(table, &key, before);
}

// The path of an entry. 0, or -1 when it has PATH_MAX bytes or more.
static int put_path(const struct step *last, char path[PATH_MAX]) {
	size_t size = 0;
	for (const struct step *step = last; step; step = step->up)
		size += 1 + step->size;
	if (size >= PATH_MAX)
		return -1;
	path[size] = 0;
	for (const struct step *step = last; step; step = step->up) {
		size -= step->size;
		memcpy(path + size, step->name, step->size);
		path[--size] = '/';
	}
	return 0;
}

static void compare_name(struct measure *run, const char *name, size_t size) {
	const struct name_search *search = run->search;
	struct step last = { run->way, name, size };
	for (size_t i = 0; i < search->count; i++) {
		size_t wanted = strlen(search->prefix[i]);
		if (size >= wanted && !memcmp(name, search->prefix[i], wanted) && !put_path(&last, run->path))
			search->found(search->arg, i, run->path);
	}
}

static int measure_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next) {
	struct measure *run = arg;
	struct image_node node;
	int before = 0;
	(void)type, (void)next;
	run->error = image_stat(run->reader, ref, &node);
	if (run->search && !run->error && (S_ISREG(node.mode) || S_ISLNK(node.mode)))
		compare_name(run, name, size);
	if (!run->error && (S_ISDIR(node.mode) || node.links > 1) && !note_inode(&run->seen, ref, &before))
		run->error = -ENOMEM;
	if (run->error || before)
		return run->error != 0;
	if (S_ISREG(node.mode))
		run->bytes += node.size;
	if (S_ISDIR(node.mode)) {
		struct step step = { run->way, name, size };
		run->way = &step;
		if (++run->depth > MAX_DEPTH)
			run->error = -EIO;
		else if (!run->error) {
			int error = image_list(run->reader, ref, 0, measure_entry, run);
			run->error = run->error ? run->error : error;
		}
		run->depth--;
		run->way = step.up;
	}
	return run->error != 0;
}

int search_image(struct image *image, const struct name_search *search, uint64_t *bytes) {
	struct measure run = { .reader = image_reader_new(image), .search = search };
	if (!run.reader)
		return -ENOMEM;
	int error = image_list(run.reader, image_root(image), 0, measure_entry, &run);
	known_free_data(&run.seen);
	image_reader_free(run.reader);
	*bytes = run.bytes;
	return run.error ? run.error : error;
}

int measure_image(struct image *image, uint64_t *bytes) {
	return search_image(image, NULL, bytes);
}
