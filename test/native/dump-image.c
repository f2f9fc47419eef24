// SPDX-License-Identifier: Apache-2.0
// Prints every entry of an image, one a line, as test/native/dump-tree.py prints a directory: path, type and mode, owner, size, mtime, links, device,
// target or sha256 of the content (read by image_map and image_read, which must agree), attributes. Usage: dump-image FILE [OFFSET [THREADS]].
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "image.h"
#include "sha256.h"

struct sink { FILE *out; struct image_reader *reader; int errors; };
struct visit { struct sink *sink; const char *path; int depth; };

static void put_escaped(FILE *out, const char *text, size_t size) {
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c <= ' ' || c >= 127 || c == '\\')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
}

static void put_digest(FILE *out, const uint8_t digest[32]) {
	for (int i = 0; i < 32; i++)
		fprintf(out, "%02x", digest[i]);
}

static int hash_content(struct sink *sink, uint64_t ref, uint64_t size, uint8_t digest[32]) {
	static const size_t step = 300001;   // no multiple of a block
	struct sha256 mapped, read;
	uint8_t other[32], *data = malloc(step);
	uint64_t at = 0;
	sha256_init(&mapped);
	sha256_init(&read);
	while (at < size) {
		struct image_span span[3];
		int count = image_map(sink->reader, ref, at, step, span, 3);
		if (count <= 0) {
			free(data);
			return count ? count : -EIO;
		}
		size_t covered = 0;
		for (int i = 0; i < count; i++) {
			sha256_update(&mapped, span[i].data, span[i].size);
			covered += span[i].size;
		}
		image_release(sink->reader, span, count);
		ssize_t got = image_read(sink->reader, ref, at, data, covered);
		if (got != (ssize_t)covered) {
			free(data);
			return got < 0 ? (int)got : -EIO;
		}
		sha256_update(&read, data, covered);
		at += covered;
	}
	free(data);
	sha256_final(&mapped, digest);
	sha256_final(&read, other);
	return memcmp(digest, other, 32) ? -EBADMSG : 0;
}

struct attribute { char *text; };
struct attributes { struct attribute item[4096]; size_t count; };

static int keep_attribute(void *arg, const char *name, const void *value, size_t size) {
	struct attributes *all = arg;
	uint8_t digest[32];
	char *text;
	sha256_of(value, size, digest);
	if (all->count == 4096 || asprintf(&text, "%s=%zu:%02x%02x%02x%02x", name, size, digest[0], digest[1], digest[2], digest[3]) < 0)
		return 1;
	all->item[all->count++].text = text;
	return 0;
}

static int by_text(const void *a, const void *b) {
	return strcmp(((const struct attribute *)a)->text, ((const struct attribute *)b)->text);
}

static void put_xattrs(struct sink *sink, uint64_t ref) {
	struct attributes *all = calloc(1, sizeof *all);
	int error = image_xattrs(sink->reader, ref, keep_attribute, all);
	if (error) {
		fprintf(sink->out, " xattr-error=%d", error);
		sink->errors++;
	}
	qsort(all->item, all->count, sizeof *all->item, by_text);
	for (size_t i = 0; i < all->count; i++) {
		fputc(' ', sink->out);
		put_escaped(sink->out, all->item[i].text, strlen(all->item[i].text));
		free(all->item[i].text);
	}
	free(all);
}

static int each_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next);

static void visit_node(struct sink *sink, const char *path, uint64_t ref, int depth) {
	struct image_node node;
	FILE *out = sink->out;
	put_escaped(out, path, strlen(path));
	int error = image_stat(sink->reader, ref, &node);
	if (error) {
		fprintf(out, " stat-error=%d\n", error);
		sink->errors++;
		return;
	}
	fprintf(out, " %o %u:%u %u", node.mode, node.uid, node.gid, node.mtime);
	if (S_ISDIR(node.mode)) {
		fprintf(out, " dir");
	} else if (S_ISLNK(node.mode)) {
		char target[4096];
		ssize_t size = image_readlink(sink->reader, ref, target, sizeof target);
		fprintf(out, " links=%u -> ", node.links);
		if (size > 0)
			put_escaped(out, target, (size_t)size);
	} else if (S_ISREG(node.mode)) {
		uint8_t digest[32];
		fprintf(out, " links=%u size=%llu ", node.links, (unsigned long long)node.size);
		error = node.size > (1ull << 34) ? -EFBIG : hash_content(sink, ref, node.size, digest);
		if (error) {
			fprintf(out, "read-error=%d", error);
			sink->errors++;
		} else {
			put_digest(out, digest);
		}
	} else {
		fprintf(out, " links=%u", node.links);
		if (S_ISBLK(node.mode) || S_ISCHR(node.mode))
			fprintf(out, " %u:%u", major(node.rdev), minor(node.rdev));
	}
	put_xattrs(sink, ref);
	fputc('\n', out);
	if (S_ISDIR(node.mode) && depth < 100) {
		struct visit visit = { sink, path, depth };
		error = image_list(sink->reader, ref, 0, each_entry, &visit);
		if (error) {
			fprintf(out, "%s list-error=%d\n", path, error);
			sink->errors++;
		}
	}
}

static int each_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next) {
	struct visit *visit = arg;
	char *path;
	uint64_t found = 0;
	struct image_node node;
	(void)next;
	if (asprintf(&path, "%s/%.*s", visit->path, (int)size, name) < 0)
		return 1;
	if (!image_stat(visit->sink->reader, ref, &node)) {
		// The same entry by its path, and the type that the listing tells.
		if ((node.mode & S_IFMT) != type)
			visit->sink->errors++;
		int error = image_resolve(visit->sink->reader, path, 0, &found);
		if (error || found != ref)
			fprintf(visit->sink->out, "%s resolve-error=%d\n", path, error), visit->sink->errors++;
	}
	visit_node(visit->sink, path, ref, visit->depth + 1);
	free(path);
	return 0;
}

struct job { struct image *image; FILE *out; int errors; };

static void *dump(void *arg) {
	struct job *job = arg;
	struct sink sink = { job->out, image_reader_new(job->image), 0 };
	if (!sink.reader)
		abort();
	visit_node(&sink, "", image_root(job->image), 0);
	image_reader_free(sink.reader);
	job->errors = sink.errors;
	return NULL;
}

int main(int argc, char **argv) {
	struct image *image;
	struct image_facts facts;
	struct fault why = { 0 };
	struct stat file;
	unsigned threads = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
	int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || fstat(fd, &file))
		die(errno, "open %s", argc > 1 ? argv[1] : "nothing");
	uint64_t offset = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	if (image_open(&image, fd, offset, (uint64_t)file.st_size - offset, 4 << 20, &why))
		fault_die(&why, 3);
	image_describe(image, &facts);
	fprintf(stderr, "%s %u %u %llu\n", facts.compressor, facts.block_size, facts.inodes, (unsigned long long)facts.bytes_used);
	pthread_t thread[64];
	struct job job[64];
	int errors = 0;
	for (unsigned i = 0; i < threads && i < 64; i++) {
		// All but the first must not print, but do the same work.
		job[i] = (struct job){ image, i ? fopen("/dev/null", "w") : stdout, 0 };
		pthread_create(&thread[i], NULL, dump, &job[i]);
	}
	for (unsigned i = 0; i < threads && i < 64; i++) {
		pthread_join(thread[i], NULL);
		errors += job[i].errors;
		if (i)
			fclose(job[i].out);
	}
	image_close(image);
	close(fd);
	return errors ? 4 : 0;
}
