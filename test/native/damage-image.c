// SPDX-License-Identifier: Apache-2.0
// Damages copies of an image in memory, in many ways, and reads all of each. Nothing may crash, hang or leak; run it under the sanitizers.
// Usage: damage-image FILE ROUNDS [SEED]
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extract.h"
#include "image.h"

// A damaged size may make a file endless; what is read of one image is bounded here.
#define MAX_READ_BYTES (64u << 20)
#define MAX_ENTRIES 20000u

struct reading { struct image_reader *reader; uint64_t bytes; unsigned entries, errors, depth; };

static uint64_t state;

static uint64_t draw(void) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int ignore_xattr(void *arg, const char *name, const void *value, size_t size) {
	unsigned *sum = arg;
	for (size_t i = 0; i < size; i++)
		*sum += ((const unsigned char *)value)[i];
	*sum += (unsigned)strlen(name);
	return 0;
}

static int read_entry(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next) {
	struct reading *reading = arg;
	struct image_node node;
	char target[4096];
	uint64_t found;
	unsigned sum = 0;
	(void)type, (void)next;
	if (++reading->entries > MAX_ENTRIES)
		return 1;
	if (!size || memchr(name, '/', size))
		abort();
	if (image_stat(reading->reader, ref, &node)) {
		reading->errors++;
		return 0;
	}
	reading->errors += image_xattrs(reading->reader, ref, ignore_xattr, &sum) != 0;
	if (S_ISLNK(node.mode))
		reading->errors += image_readlink(reading->reader, ref, target, sizeof target) < 0;
	if (S_ISDIR(node.mode) && reading->depth < 20) {
		reading->depth++;
		reading->errors += image_list(reading->reader, ref, 0, read_entry, reading) != 0;
		reading->errors += image_lookup(reading->reader, ref, "zzz", 3, &found) != -ENOENT;
		reading->depth--;
	}
	for (uint64_t at = 0; S_ISREG(node.mode) && at < node.size && reading->bytes < MAX_READ_BYTES;) {
		struct image_span span[4];
		int count = image_map(reading->reader, ref, at, 1 << 20, span, 4);
		if (count <= 0) {
			reading->errors++;
			break;
		}
		for (int i = 0; i < count; i++) {
			sum += ((const unsigned char *)span[i].data)[0] + ((const unsigned char *)span[i].data)[span[i].size - 1];
			at += span[i].size;
			reading->bytes += span[i].size;
		}
		image_release(reading->reader, span, count);
	}
	return 0;
}

// With an empty prefix every name is found.
static void check_found(void *arg, size_t prefix, const char *path) {
	(void)arg;
	if (prefix || path[0] != '/' || strlen(path) >= PATH_MAX || strstr(path, "//"))
		abort();
}

static unsigned read_all(int fd, uint64_t size) {
	struct image *image;
	struct fault why;
	if (image_open(&image, fd, 0, size, 1 << 20, &why))
		return 1;
	struct reading reading = { .reader = image_reader_new(image) };
	uint64_t ref;
	if (!reading.reader)
		abort();
	reading.errors += image_list(reading.reader, image_root(image), 0, read_entry, &reading) != 0;
	image_resolve(reading.reader, "links/relative/../../names", 1, &ref);
	const char *prefix = "";
	struct name_search search = { &prefix, 1, check_found, NULL };
	uint64_t bytes;
	reading.errors += search_image(image, &search, &bytes) != 0;
	image_reader_free(reading.reader);
	image_close(image);
	return reading.errors;
}

// Unpacks the damaged image as well; every fourth time, because it is slow.
static void extract_all(int fd, uint64_t size) {
	char path[] = "/dev/shm/bundler-damage-XXXXXX";
	struct extract_options options = { .threads = 2 };
	struct extract_report report;
	struct image *image;
	struct fault why;
	if (image_open(&image, fd, 0, size, 1 << 20, &why))
		return;
	if (!mkdtemp(path))
		abort();
	OWN_FD dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	extract_tree(image, dir, &options, &report, &why);
	image_close(image);
	if (remove_tree(dir, &why) || rmdir(path))
		abort();
}

static void damage(unsigned char *data, uint64_t size, uint64_t tables) {
	unsigned times = 1 + (unsigned)(draw() % 4);
	while (times--) {
		// Half of the damage goes to the tables behind the data, some to the superblock.
		uint64_t kind = draw() % 8, at = draw() % size;
		if (kind < 4)
			at = tables + draw() % (size - tables);
		else if (kind == 4)
			at = draw() % 96;
		switch (draw() % 4) {
		case 0: data[at] ^= (unsigned char)(1u << draw() % 8); break;
		case 1: data[at] = (unsigned char)draw(); break;
		case 2: data[at] = 0xff; break;
		default: memset(data + at, draw() % 2 ? 0xff : 0, size - at < 4 ? size - at : 4); break;
		}
	}
}

int main(int argc, char **argv) {
	struct stat file;
	int fd = argc > 2 ? open(argv[1], O_RDONLY) : -1;
	if (fd < 0 || fstat(fd, &file) || file.st_size < 96)
		return 2;
	uint64_t size = (uint64_t)file.st_size, tables;
	unsigned rounds = (unsigned)atoi(argv[2]), refused = 0;
	state = argc > 3 ? strtoull(argv[3], NULL, 0) : 88172645463325252u;
	unsigned char *original = malloc(size);
	int copy = memfd_create("damaged", MFD_CLOEXEC);
	if (!original || pread(fd, original, size, 0) != (ssize_t)size || ftruncate(copy, (off_t)size))
		return 2;
	unsigned char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
	memcpy(&tables, original + 64, sizeof tables);
	memcpy(data, original, size);
	if (tables >= size || read_all(copy, size))
		return 3;
	for (unsigned i = 0; i < rounds; i++) {
		memcpy(data, original, size);
		damage(data, size, tables);
		refused += read_all(copy, size) != 0;
		if (i % 4 == 0)
			extract_all(copy, size);
	}
	// Cut short anywhere, it must be refused.
	memcpy(data, original, size);
	uint64_t used;
	memcpy(&used, original + 40, sizeof used);
	for (uint64_t cut = 0; cut < used; cut += 1 + used / 50)
		if (!read_all(copy, cut))
			return 4;
	printf("%u damaged images, %u with errors\n", rounds, refused);
	munmap(data, size);
	close(copy);
	close(fd);
	free(original);
	return refused ? 0 : 5;
}
