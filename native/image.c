// SPDX-License-Identifier: Apache-2.0
// Opening an image, and the per-thread readers.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sqfs/block.h>
#include <sqfs/error.h>

#include "decompress.h"
#include "image_inside.h"

#define DEFAULT_CACHE_BYTES (64u << 20)
#define OBJECT_CACHE_BYTES (16u << 20)

static int explain_super(const struct image *image, int error, struct fault *why) {
	switch (error) {
	case SFQS_ERROR_SUPER_MAGIC:
		return fault(why, EINVAL, "open image: not a squashfs image");
	case SFQS_ERROR_SUPER_VERSION:
		return fault(why, EINVAL, "open image: a squashfs version other than 4.0");
	case SQFS_ERROR_SUPER_BLOCK_SIZE:
		return fault(why, EINVAL, "open image: damaged superblock: block size %u", image->super.block_size);
	case SQFS_ERROR_UNSUPPORTED:
		return fault(why, EINVAL, "open image: compressed with unknown method %u", image->super.compression_id);
	default:
		return fault(why, EIO, "open image: damaged or unreadable superblock");
	}
}

// Every table must lie in the image, in the order in which writers put them.
static int check_super(const struct image *image, struct fault *why) {
	const sqfs_super_t *s = &image->super;
	if (s->bytes_used > image->size)
		return fault(why, EIO, "open image: truncated: %llu bytes expected, %llu present",
			(unsigned long long)s->bytes_used, (unsigned long long)image->size);
	if (!decompressor_name(s->compression_id))
		return fault(why, EINVAL, "open image: compressed with unknown method %u", s->compression_id);
	if (s->block_size < SQFS_MIN_BLOCK_SIZE || s->block_size > SQFS_MAX_BLOCK_SIZE || s->block_size & (s->block_size - 1))
		return fault(why, EINVAL, "open image: damaged superblock: block size %u", s->block_size);
	if (s->inode_table_start < sizeof *s || s->inode_table_start >= s->directory_table_start
			|| s->directory_table_start > s->bytes_used || s->id_table_start > s->bytes_used
			|| s->root_inode_ref >> 16 >= s->directory_table_start - s->inode_table_start)
		return fault(why, EIO, "open image: damaged superblock: a table lies outside the image");
	return 0;
}

static int read_tables(struct image *image, struct fault *why) {
	sqfs_compressor_t *decoder = decompressor_new(image->super.compression_id);
	struct meta_port *port = decoder ? meta_port_new(image, decoder) : NULL;
	int status = SQFS_ERROR_ALLOC;
	image->ids = sqfs_id_table_create(0);
	if (port && image->ids)
		status = sqfs_id_table_read(image->ids, &port->file, &image->super, &port->compressor);
	meta_port_free(port);
	if (decoder)
		sqfs_destroy(decoder);
	return status ? fault(why, -errno_of_sqfs(status), "open image: read the owner table") : 0;
}

static int check_root(struct image *image, struct fault *why) {
	struct image_reader *reader = image_reader_new(image);
	struct image_node node;
	if (!reader)
		return fault(why, ENOMEM, "open image");
	int error = image_stat(reader, image_root(image), &node);
	image_reader_free(reader);
	if (error || !S_ISDIR(node.mode))
		return fault(why, error ? -error : EIO, "open image: damaged: its root directory cannot be read");
	return 0;
}

static int load(struct image *image, uint64_t cache_bytes, struct fault *why) {
	struct meta_port *probe = meta_port_new(image, NULL);
	if (!probe)
		return fault(why, ENOMEM, "open image");
	int status = sqfs_super_read(&image->super, &probe->file);
	meta_port_free(probe);
	if (status)
		return explain_super(image, status, why);
	if (check_super(image, why))
		return -1;
	if (!cache_bytes)
		cache_bytes = DEFAULT_CACHE_BYTES;
	image->data = block_cache_new(image->super.block_size, cache_bytes - cache_bytes / 8);
	image->meta = block_cache_new(SQFS_META_BLOCK_SIZE, cache_bytes / 8);
	image->objects = object_cache_new(OBJECT_CACHE_BYTES);
	if (!image->data || !image->meta || !image->objects)
		return fault(why, ENOMEM, "open image");
	if (read_tables(image, why))
		return -1;
	return check_root(image, why);
}

int image_open(struct image **opened, int fd, uint64_t offset, uint64_t size, uint64_t cache_bytes, struct fault *why) {
	struct image *image = calloc(1, sizeof *image);
	*opened = NULL;
	if (!image)
		return fault(why, ENOMEM, "open image");
	image->fd = fd;
	image->offset = offset;
	image->size = size;
	if (offset > INT64_MAX || size > INT64_MAX - offset) {
		image_close(image);
		return fault(why, EINVAL, "open image: impossible offset or size");
	}
	if (load(image, cache_bytes, why)) {
		image_close(image);
		return -1;
	}
	*opened = image;
	return 0;
}

void image_close(struct image *image) {
	if (!image)
		return;
	if (image->ids)
		sqfs_destroy(image->ids);
	object_cache_free(image->objects);
	block_cache_free(image->data);
	block_cache_free(image->meta);
	free(image);
}

void image_describe(const struct image *image, struct image_facts *facts) {
	*facts = (struct image_facts){
		.compressor = decompressor_name(image->super.compression_id),
		.block_size = image->super.block_size,
		.inodes = image->super.inode_count,
		.mtime = image->super.modification_time,
		.bytes_used = image->super.bytes_used,
	};
}

uint64_t image_root(const struct image *image) {
	return image->super.root_inode_ref;
}

static int open_meta(struct image_reader *reader) {
	const sqfs_super_t *s = &reader->image->super;
	sqfs_file_t *file = &reader->port->file;
	sqfs_compressor_t *compressor = &reader->port->compressor;
	reader->inodes = sqfs_meta_reader_create(file, compressor, s->inode_table_start, s->directory_table_start);
	reader->dirs = sqfs_meta_reader_create(file, compressor, s->directory_table_start, s->bytes_used);
	reader->tables = sqfs_meta_reader_create(file, compressor, sizeof *s, s->bytes_used);
	return reader->inodes && reader->dirs && reader->tables ? 0 : -ENOMEM;
}

static void close_meta(struct image_reader *reader) {
	sqfs_destroy(reader->inodes);
	sqfs_destroy(reader->dirs);
	sqfs_destroy(reader->tables);
	reader->inodes = reader->dirs = reader->tables = NULL;
}

void image_reader_reset(struct image_reader *reader) {
	struct image_reader fresh = { .image = reader->image, .port = reader->port };
	if (open_meta(&fresh)) {
		// Out of memory: the old ones remain; their next use may see the failed block again, which is an error already.
		close_meta(&fresh);
		return;
	}
	close_meta(reader);
	reader->inodes = fresh.inodes;
	reader->dirs = fresh.dirs;
	reader->tables = fresh.tables;
}

struct image_reader *image_reader_new(struct image *image) {
	struct image_reader *reader = calloc(1, sizeof *reader);
	if (!reader)
		return NULL;
	reader->image = image;
	reader->decoder = decompressor_new(image->super.compression_id);
	reader->port = reader->decoder ? meta_port_new(image, reader->decoder) : NULL;
	reader->input = malloc(image->super.block_size);
	if (!reader->port || !reader->input || open_meta(reader)) {
		image_reader_free(reader);
		return NULL;
	}
	return reader;
}

void image_reader_free(struct image_reader *reader) {
	if (!reader)
		return;
	close_meta(reader);
	meta_port_free(reader->port);
	if (reader->decoder)
		sqfs_destroy(reader->decoder);
	free(reader->input);
	free(reader);
}
