// SPDX-License-Identifier: Apache-2.0
// What an image is, and some of its small files: the part of role copy that needs the image itself.
#include "read_image.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "extract.h"
#include "image.h"
#include "roles.h"

enum { MAX_CONTENT = 1 << 20, CACHE_BYTES = 16 << 20 };

static void describe(struct image_reader *reader, uint64_t ref, const char *key, struct buffer *out)
{
	struct image_node node;
	char target[PATH_MAX];
	int error = image_stat(reader, ref, &node);
	if (error) {
		facts_addf(out, key, "error %d", -error);
	} else if (S_ISDIR(node.mode)) {
		facts_addf(out, key, "dir %04o", node.mode & 07777);
	} else if (S_ISREG(node.mode)) {
		facts_addf(out, key, "file %04o %llu", node.mode & 07777, (unsigned long long)node.size);
	} else if (S_ISLNK(node.mode)) {
		ssize_t size = image_readlink(reader, ref, target, sizeof target);
		facts_addf(out, key, "link %.*s", size > 0 ? (int)size : 0, target);
	} else {
		facts_addf(out, key, "other %04o", node.mode & 07777);
	}
}

static int add_content(struct image_reader *reader, uint64_t ref, const char *key, struct buffer *out)
{
	struct image_node node;
	if (image_stat(reader, ref, &node) || !S_ISREG(node.mode) || node.size > MAX_CONTENT)
		return 0;
	OWN char *data = malloc((size_t)node.size + 1);
	if (!data)
		return -ENOMEM;
	size_t at = 0;
	while (at < node.size) {
		ssize_t done = image_read(reader, ref, at, data + at, (size_t)node.size - at);
		if (done <= 0)
			return done < 0 ? (int)done : -EIO;
		at += (size_t)done;
	}
	facts_add(out, key, data, at);
	return 0;
}

static int add_path(struct image_reader *reader, const char *path, int with_content, struct buffer *out, struct fault *why)
{
	char key[PATH_MAX + 16];
	uint64_t ref;
	snprintf(key, sizeof key, "type.%s", path);
	if (image_resolve(reader, path, 1, &ref)) {
		// A link that leads nowhere tells at least where to.
		if (image_resolve(reader, path, 0, &ref))
			facts_addf(out, key, "none");
		else
			describe(reader, ref, key, out);
		return 0;
	}
	describe(reader, ref, key, out);
	if (!with_content)
		return 0;
	snprintf(key, sizeof key, "content.%s", path);
	int error = add_content(reader, ref, key, out);
	return error ? fault(why, -error, "read %s in the image", path) : 0;
}

static int describe_image(struct image *image, const struct buffer *facts, struct buffer *out, struct fault *why)
{
	struct image_facts about;
	struct fact fact;
	uint64_t unpacked;
	struct image_reader *reader = image_reader_new(image);
	if (!reader)
		return fault(why, ENOMEM, "read the image");
	image_describe(image, &about);
	facts_addf(out, "image", "%s %u %u %llu %u", about.compressor, about.block_size, about.inodes, (unsigned long long)about.bytes_used, about.mtime);
	int failed = 0;
	for (size_t at = 0; !failed && facts_next(facts->data, facts->size, &at, &fact) == 1;) {
		int with_content = fact.key_size == 4 && !memcmp(fact.key, "path", 4);
		if (!with_content && (fact.key_size != 4 || memcmp(fact.key, "look", 4)))
			continue;
		OWN char *path = strndup(fact.value, fact.value_size);
		if (!path || strlen(path) >= PATH_MAX)
			failed = fault(why, ENAMETOOLONG, "read a path in the image");
		else
			failed = add_path(reader, path, with_content, out, why);
	}
	image_reader_free(reader);
	if (failed)
		return -1;
	int error = measure_image(image, &unpacked);
	if (error == -EIO) {
		fault(why, 0, "the image is damaged: a directory, a name or an inode in it is impossible");
		return fault_hint(why, "make or copy the image again; \"unsquashfs -lls\" may tell where it is damaged");
	}
	if (error)
		return fault(why, -error, "read all inodes of the image");
	facts_addf(out, "unpacked", "%llu", (unsigned long long)unpacked);
	return 0;
}

int read_image(int fd, uint64_t offset, uint64_t size, const struct buffer *facts, struct buffer *out, struct fault *why)
{
	struct image *image;
	if (image_open(&image, fd, offset, size, CACHE_BYTES, why))
		return -1;
	int failed = describe_image(image, facts, out, why);
	image_close(image);
	return failed;
}
