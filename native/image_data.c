// SPDX-License-Identifier: Apache-2.0
// File content: spans of cached blocks, without a copy.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <sqfs/block.h>
#include <sqfs/error.h>

#include "image_inside.h"

// What holes are served from: as large as a block can be; never written, so it takes no memory of its own.
static uint8_t zeros[SQFS_MAX_BLOCK_SIZE] __attribute__((aligned(4096)));

struct load { struct image_reader *reader; struct extent extent; };

static ssize_t fill_data(void *arg, void *data, size_t capacity) {
	struct load *load = arg;
	struct image_reader *reader = load->reader;
	uint32_t size = SQFS_ON_DISK_BLOCK_SIZE(load->extent.word);
	int stored = !SQFS_IS_BLOCK_COMPRESSED(load->extent.word);
	if (size > capacity)
		return -EIO;
	int error = image_pread(reader->image, load->extent.at, stored ? data : reader->input, size);
	if (error)
		return error;
	if (stored)
		return size;
	sqfs_s32 done = reader->decoder->do_block(reader->decoder, reader->input, size, data, (sqfs_u32)capacity);
	return done < 0 ? -EIO : done;
}

// The span of `size` bytes at `from` of a block.
static int pin_span(struct image_reader *reader, struct extent extent, size_t from, size_t size, struct image_span *span) {
	struct load load = { reader, extent };
	struct block *block;
	int error = block_cache_get(reader->image->data, extent.at, extent.word, fill_data, &load, &block);
	if (error)
		return error;
	if (from > block->size || size > block->size - from) {
		block_cache_release(block);
		return -EIO;
	}
	*span = (struct image_span){ block->data + from, size, block };
	return 0;
}

static int next_span(struct image_reader *reader, const struct node *node, uint64_t at, size_t size, struct image_span *span) {
	uint32_t block_size = reader->image->super.block_size;
	uint64_t index = at / block_size;
	size_t inside = (size_t)(at % block_size), part = block_size - inside;
	if (part > size)
		part = size;
	if (index >= node->extents)
		return node->fragment.at ? pin_span(reader, node->fragment, node->fragment_offset + inside, part, span) : -EIO;
	if (node->extent[index].word)
		return pin_span(reader, node->extent[index], inside, part, span);
	*span = (struct image_span){ zeros, part, NULL };
	return 0;
}

static int map_node(struct image_reader *reader, const struct node *node, uint64_t offset, size_t size, struct image_span *span, int max) {
	int count = 0;
	if (S_ISDIR(node->stat.mode))
		return -EISDIR;
	if (!S_ISREG(node->stat.mode))
		return -EINVAL;
	if (offset >= node->stat.size)
		return 0;
	if (size > node->stat.size - offset)
		size = (size_t)(node->stat.size - offset);
	while (size && count < max) {
		int error = next_span(reader, node, offset, size, &span[count]);
		if (error) {
			image_release(reader, span, count);
			return error;
		}
		offset += span[count].size;
		size -= span[count++].size;
	}
	return count;
}

int image_map(struct image_reader *reader, uint64_t ref, uint64_t offset, size_t size, struct image_span *span, int max) {
	struct node *node;
	int count = node_get(reader, ref, &node);
	if (count)
		return count;
	count = map_node(reader, node, offset, size, span, max);
	node_release(reader, node);
	return count;
}

void image_release(struct image_reader *reader, struct image_span *span, int count) {
	(void)reader;
	for (int i = 0; i < count; i++)
		if (span[i].pin)
			block_cache_release(span[i].pin);
}

int image_span_is_hole(const struct image_span *span) {
	return !span->pin;
}

ssize_t image_read(struct image_reader *reader, uint64_t ref, uint64_t offset, void *data, size_t size) {
	uint8_t *to = data;
	size_t done = 0;
	struct node *node;
	int count = node_get(reader, ref, &node);
	if (count)
		return count;
	while (done < size) {
		struct image_span span;
		count = map_node(reader, node, offset + done, size - done, &span, 1);
		if (count <= 0)
			break;
		memcpy(to + done, span.data, span.size);
		done += span.size;
		image_release(reader, &span, 1);
	}
	node_release(reader, node);
	return count < 0 ? count : (ssize_t)done;
}
