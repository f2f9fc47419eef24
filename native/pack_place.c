// SPDX-License-Identifier: Apache-2.0
// Where blocks and ends of files go, and what is stored only once.
#include <errno.h>
#include <string.h>

#include "pack_inside.h"

// The blocks of a content lie one after another. When the same ones lie somewhere already, these are forgotten: nothing was written after them.
int content_complete(struct pack *pack, struct content *content) {
	uint8_t whole[32];
	struct key digest;
	int before;
	if (pack->options->no_duplicates)
		return 0;
	sha256_final(&pack->running, whole);
	memcpy(digest.bytes, whole, sizeof digest.bytes);
	struct known *known = known_note(&pack->known_blocks, &digest, &before);
	if (!known)
		return fault(pack->why, ENOMEM, "write the image");
	if (before) {
		pack->out.size = content->start;
		content->start = known->place;
	} else {
		known->place = content->start;
	}
	return 0;
}

static int note_content(struct pack *pack, const struct slot *slot, uint32_t word, uint64_t start) {
	struct content *content = (struct content *)pack->contents.item + slot->content;
	content->word[slot->word] = word;
	if (!content->written++) {
		content->start = start;
		sha256_init(&pack->running);
	}
	if (slot->want_digest) {
		sha256_update(&pack->running, &word, sizeof word);
		sha256_update(&pack->running, &slot->digest, sizeof slot->digest);
	}
	return content->ended && content->written == content->submitted ? content_complete(pack, content) : 0;
}

int block_write(struct pack *pack, struct slot *slot) {
	uint64_t start = pack->out.size;
	size_t size = slot->packed_size ? slot->packed_size : slot->size;
	uint32_t word = (uint32_t)size | (slot->packed_size ? 0 : STORED_AS_IS);
	if (output_append(pack, slot->packed_size ? slot->packed : slot->raw, size))
		return -1;
	if (slot->content != NO_CONTENT)
		return note_content(pack, slot, word, start);
	((struct fragment *)pack->fragments.item)[slot->word] = (struct fragment){ start, word, 0 };
	return 0;
}

int tails_flush(struct pack *pack) {
	struct slot *slot = pack->tails;
	pack->tails = NULL;
	return slot ? pipeline_submit(pack, slot) : 0;
}

static int begin_tails(struct pack *pack) {
	if (pack->fragments.count >= NO_FRAGMENT - 1)
		return record_fault(pack, "too many fragments");
	struct slot *slot = pipeline_slot(pack);
	if (!slot || !array_add(pack, &pack->fragments, sizeof(struct fragment), 1))
		return -1;
	slot->content = NO_CONTENT;
	slot->word = (uint32_t)(pack->fragments.count - 1);
	slot->keep_raw = pack->options->raw_fragments;
	pack->tails = slot;
	return 0;
}

int tail_store(struct pack *pack, struct content *content, const uint8_t *data, size_t size) {
	struct known *known = NULL;
	int before = 0;
	if (!pack->options->no_duplicates) {
		uint8_t whole[32];
		struct key digest;
		sha256_of(data, size, whole);
		memcpy(digest.bytes, whole, sizeof digest.bytes);
		known = known_note(&pack->known_tails, &digest, &before);
		if (!known)
			return fault(pack->why, ENOMEM, "write the image");
	}
	if (!before) {
		if (pack->tails && pack->tails->size + size > pack->options->block_size && tails_flush(pack))
			return -1;
		if (!pack->tails && begin_tails(pack))
			return -1;
		content->fragment = pack->tails->word;
		content->offset = (uint32_t)pack->tails->size;
		memcpy(pack->tails->raw + pack->tails->size, data, size);
		pack->tails->size += size;
		if (known)
			known->place = (uint64_t)content->fragment << 32 | content->offset;
		return 0;
	}
	content->fragment = (uint32_t)(known->place >> 32);
	content->offset = (uint32_t)known->place;
	return 0;
}
