// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "extract_inside.h"

struct measure { struct image_reader *reader; struct known_table seen; uint64_t bytes; unsigned depth; int error; };

struct known *note_inode(struct known_table *table, uint64_t ref, int *before) {
	struct key key = { 0 };
	memcpy(key.bytes, &ref, sizeof ref);
	return known_note(table, &key, before);
}

static int measure_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next) {
	struct measure *run = arg;
	struct image_node node;
	int before = 0;
	(void)name, (void)size, (void)type, (void)next;
	run->error = image_stat(run->reader, ref, &node);
	if (!run->error && (S_ISDIR(node.mode) || node.links > 1) && !note_inode(&run->seen, ref, &before))
		run->error = -ENOMEM;
	if (run->error || before)
		return run->error != 0;
	if (S_ISREG(node.mode))
		run->bytes += node.size;
	if (S_ISDIR(node.mode)) {
		if (++run->depth > MAX_DEPTH)
			run->error = -EIO;
		else if (!run->error) {
			int error = image_list(run->reader, ref, 0, measure_entry, run);
			run->error = run->error ? run->error : error;
		}
		run->depth--;
	}
	return run->error != 0;
}

int measure_image(struct image *image, uint64_t *bytes) {
	struct measure run = { .reader = image_reader_new(image) };
	if (!run.reader)
		return -ENOMEM;
	int error = image_list(run.reader, image_root(image), 0, measure_entry, &run);
	known_free_data(&run.seen);
	image_reader_free(run.reader);
	*bytes = run.bytes;
	return run.error ? run.error : error;
}
