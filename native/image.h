// SPDX-License-Identifier: Apache-2.0
// A squashfs image inside a file, read through libsquashfs, with an own cache of decompressed blocks. Untrusted input.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "fault.h"

struct image;          // immutable once open; shared by threads
struct image_reader;   // one a thread

struct image_facts {
	const char *compressor;   // "gzip", "lzma", "lzo", "xz", "lz4", "zstd"
	uint32_t block_size, inodes, mtime;
	uint64_t bytes_used;
};

// What stat(2) would say. An inode is named by its squashfs reference (block << 16 | offset, below 2^48); hard links share it.
struct image_node {
	uint64_t ref, size;
	uint32_t number, mode, uid, gid, links, mtime, rdev;
};

// Opens the image of `size` bytes at `offset` of fd (not taken over; must stay open). cache_bytes bounds the block cache.
// 0, or -1 with why ("not a squashfs image", "compressed with X, which ..", truncated ..).
int image_open(struct image **image, int fd, uint64_t offset, uint64_t size, uint64_t cache_bytes, struct fault *why);
void image_close(struct image *image);
void image_describe(const struct image *image, struct image_facts *facts);

struct image_reader *image_reader_new(struct image *image);   // NULL: out of memory
void image_reader_free(struct image_reader *reader);

uint64_t image_root(const struct image *image);
// All return 0 (or a count) or a negative errno; EIO for a damaged image.
int image_stat(struct image_reader *reader, uint64_t ref, struct image_node *node);
int image_lookup(struct image_reader *reader, uint64_t dir, const char *name, size_t size, uint64_t *ref);
// Calls each(arg, name, size, ref, type, next) for the entries after cookie (0: from the start), type as S_IFMT bits; next is the cookie that
// continues after this entry. A non-zero return of each stops (that entry counts as not taken). Names "", ".", "..", with '/' or NUL end it with -EIO.
int image_list(struct image_reader *reader, uint64_t dir, uint64_t cookie,
	int (*each)(void *arg, const char *name, size_t size, uint64_t ref, uint32_t type, uint64_t next), void *arg);
// The name that made the last image_list fail, shortened, with '?' for bytes that do not print; "" when something else did.
const char *image_bad_name(const struct image_reader *reader);
ssize_t image_readlink(struct image_reader *reader, uint64_t ref, char *target, size_t size);   // bytes put, not terminated
ssize_t image_read(struct image_reader *reader, uint64_t ref, uint64_t offset, void *data, size_t size);

// Pieces of a file without a copy: up to `max` spans that cover [offset, offset+size) as far as the file goes; each pins its cached block (or a
// shared zero page run for holes) until image_release. Returns the number of spans or a negative errno.
struct image_span { const void *data; size_t size; void *pin; };
int image_map(struct image_reader *reader, uint64_t ref, uint64_t offset, size_t size, struct image_span *span, int max);
void image_release(struct image_reader *reader, struct image_span *span, int count);

// Extended attributes: calls each for every (full name such as "user.x", value).
int image_xattrs(struct image_reader *reader, uint64_t ref,
	int (*each)(void *arg, const char *name, const void *value, size_t size), void *arg);

// Resolves a path inside the image, following symlinks (at most 40) within it; absolute targets start at its root. follow_last: also the last component.
int image_resolve(struct image_reader *reader, const char *path, int follow_last, uint64_t *ref);
