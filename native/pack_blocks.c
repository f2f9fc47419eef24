// SPDX-License-Identifier: Apache-2.0
// Blocks on their way from the records to the file: a bounded number, compressed by threads, written by the caller's thread in the order in which
// they were submitted.
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pack_inside.h"

enum { SLOTS_PER_THREAD = 4, HELD_SLOTS = 2 };   // held: the block and the fragment block that are being filled

static void compress(struct pipeline *blocks, struct slot *slot, sqfs_compressor_t *compressor) {
	slot->packed_size = 0;
	if (!slot->keep_raw) {
		sqfs_s32 size = compressor->do_block(compressor, slot->raw, (sqfs_u32)slot->size, slot->packed, (sqfs_u32)blocks->block_size);
		slot->failed = size < 0;
		if (size > 0 && (size_t)size < slot->size)
			slot->packed_size = (size_t)size;
	}
	if (slot->want_digest && !slot->failed) {
		uint8_t digest[32];
		sha256_of(slot->packed_size ? slot->packed : slot->raw, slot->packed_size ? slot->packed_size : slot->size, digest);
		memcpy(slot->digest.bytes, digest, sizeof slot->digest.bytes);
	}
}

static void *work(void *arg) {
	struct pipeline *blocks = arg;
	pthread_mutex_lock(&blocks->lock);
	sqfs_compressor_t *compressor = blocks->compressor[blocks->joined_in++];
	for (;;) {
		while (blocks->claimed == blocks->submitted && !blocks->stopping)
			pthread_cond_wait(&blocks->work, &blocks->lock);
		if (blocks->stopping)
			break;
		struct slot *slot = blocks->queue[blocks->claimed++ % blocks->slots];
		pthread_mutex_unlock(&blocks->lock);
		compress(blocks, slot, compressor);
		pthread_mutex_lock(&blocks->lock);
		slot->done = 1;
		if (blocks->waiting)
			pthread_cond_signal(&blocks->done);
	}
	pthread_mutex_unlock(&blocks->lock);
	return NULL;
}

static int make_slots(struct pack *pack) {
	struct pipeline *blocks = &pack->blocks;
	blocks->slots = (size_t)pack->options->threads * SLOTS_PER_THREAD + HELD_SLOTS;
	blocks->block_size = pack->options->block_size;
	blocks->slot = calloc(blocks->slots, sizeof *blocks->slot);
	blocks->idle = calloc(blocks->slots, sizeof *blocks->idle);
	blocks->queue = calloc(blocks->slots, sizeof *blocks->queue);
	if (!blocks->slot || !blocks->idle || !blocks->queue)
		return fault(pack->why, ENOMEM, "write the image");
	for (size_t i = 0; i < blocks->slots; i++) {
		struct slot *slot = &blocks->slot[i];
		slot->raw = malloc(blocks->block_size);
		slot->packed = malloc(blocks->block_size);
		if (!slot->raw || !slot->packed)
			return fault(pack->why, ENOMEM, "write the image");
		blocks->idle[blocks->idle_count++] = slot;
	}
	return 0;
}

int pipeline_start(struct pack *pack) {
	struct pipeline *blocks = &pack->blocks;
	sigset_t all, before;
	int error = 0;
	pthread_mutex_init(&blocks->lock, NULL);
	pthread_cond_init(&blocks->work, NULL);
	pthread_cond_init(&blocks->done, NULL);
	if (make_slots(pack))
		return -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < pack->options->threads && !error; i++) {
		blocks->compressor[i] = sqfs_copy(pack->compressor);
		error = blocks->compressor[i] ? pthread_create(&blocks->thread[i], NULL, work, blocks) : ENOMEM;
		blocks->started += !error;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	// Fewer threads make the same image.
	return blocks->started ? 0 : fault(pack->why, error, "start a thread");
}

void pipeline_stop(struct pack *pack) {
	struct pipeline *blocks = &pack->blocks;
	pthread_mutex_lock(&blocks->lock);
	blocks->stopping = 1;
	pthread_cond_broadcast(&blocks->work);
	pthread_mutex_unlock(&blocks->lock);
	for (unsigned i = 0; i < blocks->started; i++)
		pthread_join(blocks->thread[i], NULL);
	for (unsigned i = 0; i < PACK_MAX_THREADS; i++) {
		sqfs_destroy(blocks->compressor[i]);
		blocks->compressor[i] = NULL;
	}
	for (size_t i = 0; blocks->slot && i < blocks->slots; i++) {
		free(blocks->slot[i].raw);
		free(blocks->slot[i].packed);
	}
	free(blocks->slot);
	free(blocks->idle);
	free(blocks->queue);
	blocks->slot = NULL;
	blocks->idle = blocks->queue = NULL;
	blocks->started = 0;
}

void pipeline_return(struct pack *pack, struct slot *slot) {
	pack->blocks.idle[pack->blocks.idle_count++] = slot;
}

// Writes the oldest block; waits for it, or gives 0 when it is not ready. 1: written.
static int write_oldest(struct pack *pack, int wait) {
	struct pipeline *blocks = &pack->blocks;
	struct slot *slot = blocks->queue[blocks->written % blocks->slots];
	pthread_mutex_lock(&blocks->lock);
	blocks->waiting = wait;
	while (wait && !slot->done)
		pthread_cond_wait(&blocks->done, &blocks->lock);
	blocks->waiting = 0;
	int done = slot->done;
	pthread_mutex_unlock(&blocks->lock);
	if (!done)
		return 0;
	if (slot->failed)
		return fault(pack->why, 0, "compress a block with %s: it fails", pack->options->compressor);
	if (block_write(pack, slot))
		return -1;
	blocks->written++;
	pipeline_return(pack, slot);
	return 1;
}

struct slot *pipeline_slot(struct pack *pack) {
	struct pipeline *blocks = &pack->blocks;
	if (!blocks->idle_count && write_oldest(pack, 1) < 0)
		return NULL;
	struct slot *slot = blocks->idle[--blocks->idle_count];
	slot->size = 0;
	slot->done = slot->failed = slot->keep_raw = slot->want_digest = 0;
	return slot;
}

int pipeline_submit(struct pack *pack, struct slot *slot) {
	struct pipeline *blocks = &pack->blocks;
	pthread_mutex_lock(&blocks->lock);
	blocks->queue[blocks->submitted++ % blocks->slots] = slot;
	pthread_cond_signal(&blocks->work);
	pthread_mutex_unlock(&blocks->lock);
	int status = 1;
	while (status == 1 && blocks->written < blocks->submitted)
		status = write_oldest(pack, 0);
	return status < 0 ? -1 : 0;
}

int pipeline_drain(struct pack *pack) {
	while (pack->blocks.written < pack->blocks.submitted)
		if (write_oldest(pack, 1) < 0)
			return -1;
	return 0;
}
