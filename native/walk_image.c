// SPDX-License-Identifier: Apache-2.0
// A walk of an image.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "walk_inside.h"

enum { CACHE_BYTES = 32 << 20, SPANS = 16, PART = 512 << 10, TARGET = 65536 };

struct image_walk {
	struct walk walk;
	struct image_reader *reader;
	char *target;                    // TARGET bytes
	const char *last;                // the entry before, in the directory at hand
	int failed;
};

static int fail(struct image_walk *run, int error) {
	return walk_fault(&run->walk, error == -EIO ? 0 : -error, error == -EIO ? "the image is damaged at" : "read from the image");
}

static int send_part(struct image_walk *run, struct image_span *span, int count, uint64_t *done) {
	size_t size = 0;
	for (int i = 0; i < count; i++)
		size += span[i].size;
	int failed = walk_send_data(&run->walk, size);
	for (int i = 0; i < count && !failed; i++)
		failed = walk_send(&run->walk, span[i].data, span[i].size);
	*done += size;
	image_release(run->reader, span, count);
	return failed;
}

static int send_content(struct image_walk *run, const struct image_node *node) {
	struct image_span span[SPANS];
	for (uint64_t done = 0; done < node->size;) {
		uint64_t left = node->size - done;
		int count = image_map(run->reader, node->ref, done, left < PART ? (size_t)left : PART, span, SPANS);
		if (count <= 0)
			return fail(run, count ? count : -EIO);
		if (send_part(run, span, count, &done))
			return -1;
	}
	return 0;
}

static int add_xattr(void *arg, const char *name, const void *value, size_t size) {
	struct image_walk *run = arg;
	run->failed = walk_add_xattr(&run->walk, name, value, size);
	return run->failed;
}

static int visit_all(struct image_walk *run, uint64_t ref);

static int visit(struct image_walk *run, uint64_t ref) {
	struct image_node node;
	uint64_t identity = 0;
	ssize_t target_size = 0;
	int before = 0, error = image_stat(run->reader, ref, &node);
	if (error)
		return fail(run, error);
	if (S_ISSOCK(node.mode)) {
		run->walk.skipped++;
		return 0;
	}
	if (!S_ISDIR(node.mode) && node.links < 2)
		identity = ++run->walk.identities;
	else if (walk_identify(&run->walk, ref, 0, &identity, &before))
		return -1;
	if (before && S_ISDIR(node.mode))
		return walk_fault(&run->walk, 0, "the image is damaged: a directory appears a second time as");
	if (S_ISLNK(node.mode) && (target_size = image_readlink(run->reader, ref, run->target, TARGET)) < 0)
		return fail(run, (int)target_size);
	error = image_xattrs(run->reader, ref, add_xattr, run);
	if (error || run->failed)
		return error ? fail(run, error) : -1;
	struct stat st = {
		.st_mode = node.mode, .st_uid = node.uid, .st_gid = node.gid, .st_mtim = { .tv_sec = node.mtime }, .st_size = (off_t)node.size,
		.st_nlink = node.links, .st_rdev = node.rdev,
	};
	if (walk_send_entry(&run->walk, &st, identity, before, run->target, (size_t)target_size))
		return -1;
	if (S_ISDIR(node.mode))
		return visit_all(run, ref);
	return S_ISREG(node.mode) && !before ? send_content(run, &node) : 0;
}

static int visit_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next) {
	struct image_walk *run = arg;
	size_t path_size = run->walk.path_size;
	(void)size, (void)type, (void)next;   // the reader's names end with a NUL and hold none
	if (run->last && strcmp(run->last, name) >= 0) {
		run->failed = walk_fault(&run->walk, 0, "the image is damaged: the names are not in order in");
		return 1;
	}
	run->failed = walk_enter(&run->walk, name) || visit(run, ref) ? -1 : 0;
	walk_leave(&run->walk, path_size);
	run->last = name;
	return run->failed;
}

static int visit_all(struct image_walk *run, uint64_t ref) {
	const char *outer = run->last;
	if (run->walk.depth == WALK_MAX_DEPTH)
		return walk_fault(&run->walk, 0, "the directories are nested too deep at");
	run->walk.depth++;
	run->last = NULL;
	int error = image_list(run->reader, ref, 0, visit_entry, run);
	run->last = outer;
	run->walk.depth--;
	if (error && image_bad_name(run->reader)[0])
		return walk_fault(&run->walk, 0, "the image is damaged: a name is no name in");
	return error ? fail(run, error) : run->failed;
}

static int walk_opened(struct image *image, int output, struct fault *why) {
	struct image_walk run = { .reader = image_reader_new(image), .target = malloc(TARGET) };
	int status = walk_begin(&run.walk, output, why);
	if (!run.reader || !run.target)
		status = fault(why, ENOMEM, "read the image");
	if (!status)
		status = visit(&run, image_root(image)) || walk_end(&run.walk) ? -1 : 0;
	walk_release(&run.walk);
	free(run.target);
	if (run.reader)
		image_reader_free(run.reader);
	return status;
}

int walk_image_at(int fd, uint64_t offset, uint64_t size, int output, struct fault *why) {
	struct image *image;
	if (image_open(&image, fd, offset, size, CACHE_BYTES, why))
		return -1;
	int status = walk_opened(image, output, why);
	image_close(image);
	return status;
}
