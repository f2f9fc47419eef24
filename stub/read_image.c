// SPDX-License-Identifier: Apache-2.0
// What an image is, and some of its small files: the part of role copy that needs the image itself.
#include "read_image.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "extract.h"
#include "image.h"
#include "roles.h"

enum {
	MAX_CONTENT = 1 << 20, CACHE_BYTES = 16 << 20, TREE_CONTENT = 64 << 10, TREE_TOTAL = 256 << 10, TREE_DEPTH = 4, TREE_ENTRIES = 128, MAX_NAMES = 4096,
	HEAD_BYTES = 256 << 10, MAX_HEADS = 32, MAX_PREFIXES = 16, MAX_FOUND = 16,
};

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

// head: of a file with more than `most` bytes its first ones; otherwise nothing of it.
static int add_content(struct image_reader *reader, uint64_t ref, uint64_t most, bool head, const char *key, struct buffer *out)
{
	struct image_node node;
	if (image_stat(reader, ref, &node) || !S_ISREG(node.mode) || (node.size > most && !head))
		return 0;
	size_t size = (size_t)(node.size < most ? node.size : most), at = 0;
	OWN char *data = malloc(size + 1);
	if (!data)
		return -ENOMEM;
	while (at < size) {
		ssize_t done = image_read(reader, ref, at, data + at, size - at);
		if (done <= 0)
			return done < 0 ? (int)done : -EIO;
		at += (size_t)done;
	}
	facts_add(out, key, data, at);
	return 0;
}

// most: bytes of content to tell; 0 for none.
static int add_path(struct image_reader *reader, const char *path, uint64_t most, struct buffer *out, struct fault *why)
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
	if (!most)
		return 0;
	snprintf(key, sizeof key, "content.%s", path);
	int error = add_content(reader, ref, most, false, key, out);
	return error ? fault(why, -error, "read %s in the image", path) : 0;
}

struct heads { uint64_t told[MAX_HEADS]; size_t count; };

// The content of a file to which several paths lead is told for the first of them alone: it may be large.
static int add_head(struct image_reader *reader, const char *path, struct heads *heads, struct buffer *out, struct fault *why)
{
	char key[PATH_MAX + 16];
	uint64_t ref;
	if (add_path(reader, path, 0, out, why))
		return -1;
	if (image_resolve(reader, path, 1, &ref))
		return 0;
	for (size_t i = 0; i < heads->count; i++)
		if (heads->told[i] == ref)
			return 0;
	if (heads->count == MAX_HEADS)
		return fault(why, E2BIG, "read the beginning of %s in the image", path);
	heads->told[heads->count++] = ref;
	snprintf(key, sizeof key, "content.%s", path);
	int error = add_content(reader, ref, HEAD_BYTES, true, key, out);
	return error ? fault(why, -error, "read the beginning of %s in the image", path) : 0;
}

struct names { struct buffer text; size_t count; };

static int take_name(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next)
{
	struct names *names = arg;
	(void)ref, (void)type, (void)next;
	if (names->count == MAX_NAMES)
		return 1;
	buffer_add(&names->text, name, size);
	buffer_add(&names->text, "", 1);
	names->count++;
	return 0;
}

// The names in a directory, NUL-terminated one after the other; none when it is no directory. 0 or a negative errno.
static int list_names(struct image_reader *reader, const char *path, struct names *names)
{
	struct image_node node;
	uint64_t ref;
	if (image_resolve(reader, path, 1, &ref) || image_stat(reader, ref, &node) || !S_ISDIR(node.mode))
		return 0;
	int error = image_list(reader, ref, 0, take_name, names);
	return error < 0 ? error : 0;
}

static int add_names(struct image_reader *reader, const char *path, struct buffer *out, struct fault *why)
{
	char key[PATH_MAX + 16];
	struct names names = { .count = 0 };
	int error = list_names(reader, path, &names);
	snprintf(key, sizeof key, "name.%s", path);
	for (size_t at = 0; !error && at < names.text.size; at += strlen(names.text.data + at) + 1)
		facts_addf(out, key, "%s", names.text.data + at);
	buffer_free(&names.text);
	return error ? fault(why, -error, "read the directory %s in the image", path) : 0;
}

struct budget { size_t entries, end; };   // end: of the answer

// Everything below a directory as `path` has it, links followed. What is deeper or more than a home directory begins with is left out: each
// start reads the manifest.
static int add_tree(struct image_reader *reader, const char *path, int depth, struct budget *left, struct buffer *out, struct fault *why)
{
	struct names names = { .count = 0 };
	int failed = 0, error = list_names(reader, path, &names);
	if (error)
		failed = fault(why, -error, "read the directory %s in the image", path);
	for (size_t at = 0; !failed && at < names.text.size && left->entries && out->size < left->end; at += strlen(names.text.data + at) + 1) {
		char below[PATH_MAX];
		if (snprintf(below, sizeof below, "%s/%s", path, names.text.data + at) >= (int)sizeof below)
			continue;
		left->entries--;
		failed = add_path(reader, below, TREE_CONTENT, out, why);
		if (!failed && depth > 1)
			failed = add_tree(reader, below, depth - 1, left, out, why);
	}
	buffer_free(&names.text);
	return failed;
}

static bool is_key(const struct fact *fact, const char *key)
{
	return fact->key_size == strlen(key) && !memcmp(fact->key, key, fact->key_size);
}

static int answer_fact(struct image_reader *reader, const struct fact *fact, struct heads *heads, struct buffer *out, struct fault *why)
{
	struct budget left = { TREE_ENTRIES, out->size + TREE_TOTAL };
	if (!is_key(fact, "path") && !is_key(fact, "look") && !is_key(fact, "names") && !is_key(fact, "tree") && !is_key(fact, "head"))
		return 0;
	OWN char *path = strndup(fact->value, fact->value_size);
	if (!path || strlen(path) >= PATH_MAX)
		return fault(why, ENAMETOOLONG, "read a path in the image");
	if (is_key(fact, "names"))
		return add_names(reader, path, out, why);
	if (is_key(fact, "tree"))
		return add_tree(reader, path, TREE_DEPTH, &left, out, why);
	if (is_key(fact, "head"))
		return add_head(reader, path, heads, out, why);
	return add_path(reader, path, is_key(fact, "path") ? MAX_CONTENT : 0, out, why);
}

// The prefixes that `find` names, and how often each was found.
struct finding { struct buffer *out; char *prefix[MAX_PREFIXES]; unsigned found[MAX_PREFIXES]; size_t count; };

static void note_found(void *arg, size_t prefix, const char *path)
{
	struct finding *finding = arg;
	char key[NAME_MAX + 16];
	if (finding->found[prefix] == MAX_FOUND)
		return;
	finding->found[prefix]++;
	snprintf(key, sizeof key, "found.%s", finding->prefix[prefix]);
	facts_addf(finding->out, key, "%s", path);
}

static int take_prefixes(const struct buffer *facts, struct finding *finding, struct fault *why)
{
	struct fact fact;
	for (size_t at = 0; facts_next(facts->data, facts->size, &at, &fact) == 1;) {
		if (!is_key(&fact, "find"))
			continue;
		if (finding->count == MAX_PREFIXES || fact.value_size > NAME_MAX)
			return fault(why, E2BIG, "find names in the image");
		finding->prefix[finding->count] = strndup(fact.value, fact.value_size);
		if (!finding->prefix[finding->count])
			return fault(why, ENOMEM, "find names in the image");
		finding->count++;
	}
	return 0;
}

// Looks at all inodes: for their size, and for names on the way.
static int walk_inodes(struct image *image, const struct buffer *facts, struct buffer *out, struct fault *why)
{
	struct finding finding = { .out = out };
	uint64_t unpacked = 0;
	int failed = take_prefixes(facts, &finding, why), error = 0;
	if (!failed) {
		struct name_search search = { (const char *const *)finding.prefix, finding.count, note_found, &finding };
		error = search_image(image, finding.count ? &search : NULL, &unpacked);
	}
	for (size_t i = 0; i < finding.count; i++)
		free(finding.prefix[i]);
	if (failed)
		return -1;
	if (error == -EIO) {
		fault(why, 0, "the image is damaged: a directory, a name or an inode in it is impossible");
		return fault_hint(why, "make or copy the image again; \"unsquashfs -lls\" may tell where it is damaged");
	}
	if (error)
		return fault(why, -error, "read all inodes of the image");
	facts_addf(out, "unpacked", "%llu", (unsigned long long)unpacked);
	return 0;
}

static int describe_image(struct image *image, const struct buffer *facts, struct buffer *out, struct fault *why)
{
	struct image_facts about;
	struct heads heads = { .count = 0 };
	struct fact fact;
	struct image_reader *reader = image_reader_new(image);
	if (!reader)
		return fault(why, ENOMEM, "read the image");
	image_describe(image, &about);
	facts_addf(out, "image", "%s %u %u %llu %u", about.compressor, about.block_size, about.inodes, (unsigned long long)about.bytes_used, about.mtime);
	int failed = 0;
	for (size_t at = 0; !failed && facts_next(facts->data, facts->size, &at, &fact) == 1;)
		failed = answer_fact(reader, &fact, &heads, out, why);
	image_reader_free(reader);
	return failed ? -1 : walk_inodes(image, facts, out, why);
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
