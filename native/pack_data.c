// SPDX-License-Identifier: Apache-2.0
// Contents of files, cut into blocks. Blocks of zeros are not stored.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pack_inside.h"

static struct content *last_content(struct pack *pack) {
	return (struct content *)pack->contents.item + pack->contents.count - 1;
}

static int is_zero(const uint8_t *data, size_t size) {
	return !data[0] && !memcmp(data, data + 1, size - 1);
}

// Gives the content a word for its next block.
static int add_word(struct pack *pack, struct content *content, uint32_t word) {
	if (content->words == content->room) {
		uint32_t room = content->room ? content->room * 2 : 4;
		uint32_t *moved = reallocarray(content->word, room, sizeof *moved);
		if (!moved)
			return fault(pack->why, ENOMEM, "write the image: a file of %llu bytes", (unsigned long long)content->size);
		content->word = moved;
		content->room = room;
	}
	content->word[content->words++] = word;
	return 0;
}

static int add_holes(struct pack *pack, struct content *content, uint32_t blocks) {
	uint32_t *last = content->words ? &content->word[content->words - 1] : NULL;
	content->blocks += blocks;
	if (!last || !(*last & HOLE_RUN))
		return add_word(pack, content, HOLE_RUN | blocks);
	*last += blocks;   // at most MAX_BLOCKS in all
	return 0;
}

// Sends the block that was filled on its way.
static int end_block(struct pack *pack, struct content *content) {
	struct slot *slot = pack->current;
	if (is_zero(slot->raw, slot->size)) {
		content->sparse += slot->size;
		slot->size = 0;
		return add_holes(pack, content, 1);
	}
	slot->content = (uint32_t)(pack->contents.count - 1);
	slot->word = content->words;
	slot->keep_raw = pack->options->raw_data;
	slot->want_digest = !pack->options->no_duplicates;
	if (add_word(pack, content, 0))
		return -1;
	content->blocks++;
	content->submitted++;
	pack->current = NULL;
	return pipeline_submit(pack, slot);
}

// Room in the block that is being filled; 0: failed.
static size_t room(struct pack *pack) {
	if (!pack->current && !(pack->current = pipeline_slot(pack)))
		return 0;
	return pack->options->block_size - pack->current->size;
}

static int advance(struct pack *pack, size_t size) {
	struct slot *slot = pack->current;
	slot->size += size;
	pack->current_left -= size;
	return slot->size == pack->options->block_size ? end_block(pack, last_content(pack)) : 0;
}

int data_begin(struct pack *pack, uint64_t size) {
	if (pack->in_content)
		return record_fault(pack, "a content begins before the one before it has ended");
	if (pack->in_tree)
		return record_fault(pack, "a content after the tree has begun");
	if (size / pack->options->block_size >= MAX_BLOCKS)
		return record_fault(pack, "a file of %llu bytes, which are more than %u blocks", (unsigned long long)size, MAX_BLOCKS);
	if (pack->contents.count >= NO_CONTENT - 1)
		return record_fault(pack, "too many contents");
	struct content *content = array_add(pack, &pack->contents, sizeof *content, 1);
	if (!content)
		return -1;
	*content = (struct content){ .size = size, .fragment = NO_FRAGMENT };
	pack->current_left = size;
	pack->in_content = 1;
	return 0;
}

static int check_size(struct pack *pack, uint64_t size) {
	if (!pack->in_content)
		return record_fault(pack, "data outside a content");
	if (size > pack->current_left)
		return record_fault(pack, "%llu bytes more than the size of the content", (unsigned long long)(size - pack->current_left));
	return 0;
}

int data_take(struct pack *pack, uint64_t size) {
	if (check_size(pack, size))
		return -1;
	while (size) {
		size_t part = room(pack);
		if (!part)
			return -1;
		if (part > size)
			part = (size_t)size;
		if (record_take(pack, pack->current->raw + pack->current->size, part) || advance(pack, part))
			return -1;
		size -= part;
	}
	return 0;
}

static int fill_zeros(struct pack *pack, size_t size) {
	if (!room(pack))
		return -1;
	memset(pack->current->raw + pack->current->size, 0, size);
	return advance(pack, size);
}

int data_hole(struct pack *pack, uint64_t size) {
	uint32_t block_size = pack->options->block_size;
	if (check_size(pack, size))
		return -1;
	size_t filled = pack->current ? pack->current->size : 0;
	size_t first = filled ? block_size - filled : 0;
	if (first > size)
		first = (size_t)size;
	if (first && fill_zeros(pack, first))
		return -1;
	size -= first;
	uint64_t whole = size / block_size;
	if (whole) {
		struct content *content = last_content(pack);
		content->sparse += whole * block_size;
		pack->current_left -= whole * block_size;
		if (add_holes(pack, content, (uint32_t)whole))
			return -1;
		size -= whole * block_size;
	}
	return size ? fill_zeros(pack, (size_t)size) : 0;
}

// The file has all its blocks. When the last of them is not written yet, that completes it.
static int end_blocks(struct pack *pack, struct content *content) {
	content->ended = 1;
	return content->submitted && content->written == content->submitted ? content_complete(pack, content) : 0;
}

// Completes the content before its end goes into a fragment block: nothing may be written between its blocks and its completion.
static int end_in_fragment(struct pack *pack, struct content *content) {
	struct slot *slot = pack->current;
	if (end_blocks(pack, content) || tail_store(pack, content, slot->raw, slot->size))
		return -1;
	slot->size = 0;
	return 0;
}

int data_end(struct pack *pack) {
	if (!pack->in_content)
		return record_fault(pack, "the end of a content that has not begun");
	if (pack->current_left)
		return record_fault(pack, "the content ends %llu bytes before its size", (unsigned long long)pack->current_left);
	pack->in_content = 0;
	struct content *content = last_content(pack);
	struct slot *slot = pack->current;
	if (!slot || !slot->size)
		return end_blocks(pack, content);
	if (!pack->options->no_fragments && !is_zero(slot->raw, slot->size))
		return end_in_fragment(pack, content);
	return end_block(pack, content) ? -1 : end_blocks(pack, content);
}

int data_finish(struct pack *pack) {
	if (pack->in_content)
		return record_fault(pack, "the tree begins before the last content has ended");
	if (tails_flush(pack) || pipeline_drain(pack))
		return -1;
	pipeline_stop(pack);
	pack->current = NULL;
	return 0;
}
