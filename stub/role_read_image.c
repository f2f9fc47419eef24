// SPDX-License-Identifier: Apache-2.0
// Role read-image: what an image is, and some of its small files.
#include "roles.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "extract.h"
#include "image.h"

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

int read_image_role(const struct buffer *facts)
{
	OWN const char *file = role_fact(facts, "file");
	struct fault why = { 0 };
	struct image *image;
	struct image_facts about;
	struct buffer out = { 0 };
	struct fact fact;
	uint64_t offset, size;
	if (!file || role_number(facts, "offset", &offset) || role_number(facts, "size", &size))
		die(EINVAL, "role read-image: file, offset and size are needed");
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(errno, "open %s", file);
	if (image_open(&image, fd, offset, size, CACHE_BYTES, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	image_describe(image, &about);
	facts_addf(&out, "image", "%s %u %u %llu %u", about.compressor, about.block_size, about.inodes, (unsigned long long)about.bytes_used, about.mtime);
	struct image_reader *reader = image_reader_new(image);
	if (!reader)
		die(ENOMEM, "read %s", file);
	for (size_t at = 0; facts_next(facts->data, facts->size, &at, &fact) == 1;) {
		int with_content = fact.key_size == 4 && !memcmp(fact.key, "path", 4);
		if (!with_content && (fact.key_size != 4 || memcmp(fact.key, "look", 4)))
			continue;
		OWN char *path = strndup(fact.value, fact.value_size);
		if (!path || strlen(path) >= PATH_MAX)
			die(ENAMETOOLONG, "role read-image: a path");
		if (add_path(reader, path, with_content, &out, &why))
			fault_die(&why, EXIT_OWN_FAILURE);
	}
	uint64_t unpacked;
	int error = measure_image(image, &unpacked);
	if (error == -EIO) {
		fault(&why, 0, "%s: the image is damaged: a directory, a name or an inode in it is impossible", file);
		fault_hint(&why, "make or copy the image again; \"unsquashfs -lls\" may tell where it is damaged");
		fault_die(&why, EXIT_OWN_FAILURE);
	}
	if (error)
		die(-error, "read all inodes of the image in %s", file);
	facts_addf(&out, "unpacked", "%llu", (unsigned long long)unpacked);
	if (frame_write(1, &out, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	return 0;
}
