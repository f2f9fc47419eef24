// SPDX-License-Identifier: Apache-2.0
// Reading the section, and the file and compressor objects that libsquashfs reads metadata through.
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqfs/block.h>
#include <sqfs/error.h>

#include "image_inside.h"

int image_pread(const struct image *image, uint64_t at, void *data, size_t size) {
	if (at > image->size || size > image->size - at)
		return -EIO;
	uint8_t *to = data;
	while (size) {
		ssize_t done = pread(image->fd, to, size, (off_t)(image->offset + at));
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return -EIO;
		to += done;
		at += (uint64_t)done;
		size -= (size_t)done;
	}
	return 0;
}

int errno_of_sqfs(int error) {
	return error == SQFS_ERROR_ALLOC ? -ENOMEM : -EIO;
}

static int port_read(sqfs_file_t *file, sqfs_u64 at, void *data, size_t size) {
	struct meta_port *port = (struct meta_port *)file;
	port->at = at;
	return image_pread(port->image, at, data, size) ? SQFS_ERROR_IO : 0;
}

static int port_write(sqfs_file_t *file, sqfs_u64 at, const void *data, size_t size) {
	(void)file, (void)at, (void)data, (void)size;
	return SQFS_ERROR_UNSUPPORTED;
}

static int port_truncate(sqfs_file_t *file, sqfs_u64 size) {
	(void)file, (void)size;
	return SQFS_ERROR_UNSUPPORTED;
}

static sqfs_u64 port_size(const sqfs_file_t *file) {
	return ((const struct meta_port *)file)->image->size;
}

static ssize_t fill_meta(void *arg, void *data, size_t capacity) {
	struct meta_port *port = arg;
	sqfs_s32 done = port->decoder->do_block(port->decoder, port->in, port->in_size, data, (sqfs_u32)capacity);
	// An empty block would let a reader walk on without an end.
	return done <= 0 ? -EIO : done;
}

static sqfs_s32 port_decode(sqfs_compressor_t *base, const sqfs_u8 *in, sqfs_u32 size, sqfs_u8 *out, sqfs_u32 room) {
	struct meta_port *port = (struct meta_port *)((char *)base - offsetof(struct meta_port, compressor));
	struct block *block;
	port->in = in;
	port->in_size = size;
	if (block_cache_get(port->image->meta, port->at, size, fill_meta, port, &block))
		return SQFS_ERROR_COMPRESSOR;
	sqfs_s32 done = SQFS_ERROR_COMPRESSOR;
	if (block->size <= room) {
		memcpy(out, block->data, block->size);
		done = (sqfs_s32)block->size;
	}
	block_cache_release(block);
	return done;
}

static void port_destroy(sqfs_object_t *object) {
	(void)object;   // owned by the reader
}

struct meta_port *meta_port_new(struct image *image, sqfs_compressor_t *decoder) {
	struct meta_port *port = calloc(1, sizeof *port);
	if (!port)
		return NULL;
	port->image = image;
	port->decoder = decoder;
	port->file.base.destroy = port_destroy;
	port->file.read_at = port_read;
	port->file.write_at = port_write;
	port->file.truncate = port_truncate;
	port->file.get_size = port_size;
	port->compressor.base.destroy = port_destroy;
	port->compressor.do_block = port_decode;
	return port;
}

void meta_port_free(struct meta_port *port) {
	free(port);
}

// The address of a table's metadata block. Addresses are read a windowful at a time: many inodes share a few blocks of the fragment table.
static int find_table_block(struct image_reader *reader, uint64_t at, uint64_t *block) {
	struct address_window *window = &reader->addresses;
	if (at - window->at >= window->count * sizeof *block || (at - window->at) % sizeof *block) {
		uint64_t left = reader->image->size - at;
		size_t size = left < sizeof window->address ? (size_t)left : sizeof window->address;
		window->count = 0;
		int error = image_pread(reader->image, at, window->address, size);
		if (error)
			return error;
		window->at = at;
		window->count = size / sizeof *block;
		if (!window->count)
			return -EIO;
	}
	*block = le64toh(window->address[(at - window->at) / sizeof *block]);
	return 0;
}

int image_table_entry(struct image_reader *reader, uint64_t start, uint64_t index, void *entry, size_t size) {
	uint64_t byte = index * size, block;
	if (start > reader->image->size || byte / SQFS_META_BLOCK_SIZE * sizeof block > reader->image->size - start)
		return -EIO;
	int error = find_table_block(reader, start + byte / SQFS_META_BLOCK_SIZE * sizeof block, &block);
	if (error)
		return error;
	int status = sqfs_meta_reader_seek(reader->tables, block, byte % SQFS_META_BLOCK_SIZE);
	if (!status)
		status = sqfs_meta_reader_read(reader->tables, entry, size);
	return status ? errno_of_sqfs(status) : 0;
}
