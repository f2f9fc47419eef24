// SPDX-License-Identifier: Apache-2.0
// Writes a squashfs image: what each record does.
#include "pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pack_inside.h"

enum { BUFFER = 256 << 10 };
enum { OP_BEGIN = 1, OP_DATA, OP_END_FILE, OP_HOLE, OP_FILE, OP_XATTRS, OP_INODE, OP_DIRECTORY, OP_END };

static sqfs_s32 compress_table(sqfs_compressor_t *base, const sqfs_u8 *in, sqfs_u32 size, sqfs_u8 *out, sqfs_u32 room) {
	struct table_compressor *compressor = (struct table_compressor *)base;
	sqfs_s32 packed = compressor->inner ? compressor->inner->do_block(compressor->inner, in, size, out, room) : 0;
	return packed < 0 || (sqfs_u32)packed < size ? packed : 0;
}

static int make_compressor(struct pack *pack) {
	const struct pack_options *options = pack->options;
	sqfs_compressor_config_t config;
	int id = sqfs_compressor_id_from_name(options->compressor);
	if (id == SQFS_COMP_LZO)
		return fault(pack->why, 0, "compress with lzo: only reading it is possible");
	if (id < 0)
		return fault(pack->why, 0, "compress with %s: it is not known", options->compressor);
	if (id == SQFS_COMP_LZ4 ? options->level >= 0 : options->lz4_hc)
		return fault(pack->why, 0, "compress with %s: it has no such option", options->compressor);
	if (sqfs_super_init(&pack->super, options->block_size, options->time, (SQFS_COMPRESSOR)id))
		return fault(pack->why, 0, "write an image with blocks of %u bytes: a power of two from 4096 to 1048576 is needed", options->block_size);
	int error = sqfs_compressor_config_init(&config, (SQFS_COMPRESSOR)id, options->block_size, options->lz4_hc ? SQFS_COMP_FLAG_LZ4_HC : 0);
	if (!error && options->level >= 0)
		config.level = (sqfs_u32)options->level;
	if (!error)
		error = sqfs_compressor_create(&config, &pack->compressor);
	if (error && options->level >= 0)
		return fault(pack->why, 0, "compress with %s at level %d: there is no such level", options->compressor, options->level);
	if (error)
		return output_fault(pack, error, "make the compressor");
	pack->for_tables = (struct table_compressor){ { .do_block = compress_table }, options->raw_inodes ? NULL : pack->compressor };
	pack->for_xattrs = (struct table_compressor){ { .do_block = compress_table }, options->raw_xattrs ? NULL : pack->compressor };
	return 0;
}

// The superblock is written last; until then its place is a hole, so that half an image is none.
static int begin_image(struct pack *pack) {
	pack->in.buffer = malloc(BUFFER);
	if (!pack->in.buffer)
		return fault(pack->why, ENOMEM, "write the image");
	if (make_compressor(pack) || pipeline_start(pack))
		return -1;
	pack->out.size = sizeof(sqfs_super_t);
	int written = pack->compressor->write_options(pack->compressor, &pack->out.file);
	if (written > 0)
		pack->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
	return written < 0 ? output_fault(pack, written, "the options") : 0;
}

static int take_begin(struct pack *pack) {
	uint64_t size;
	return record_take(pack, &size, sizeof size) ? -1 : data_begin(pack, size);
}

static int take_hole(struct pack *pack) {
	uint64_t size;
	return record_take(pack, &size, sizeof size) ? -1 : data_hole(pack, size);
}

static int take_file(struct pack *pack) {
	uint64_t size = pack->in.left;
	return data_begin(pack, size) || data_take(pack, size) || data_end(pack) ? -1 : 0;
}

static int take_record(struct pack *pack, uint8_t op) {
	switch (op) {
	case OP_BEGIN: return take_begin(pack);
	case OP_DATA: return data_take(pack, pack->in.left);
	case OP_END_FILE: return data_end(pack);
	case OP_HOLE: return take_hole(pack);
	case OP_FILE: return take_file(pack);
	case OP_XATTRS: return xattrs_take(pack);
	case OP_INODE: return tree_inode(pack);
	case OP_DIRECTORY: return tree_directory(pack);
	default: return record_fault(pack, "an unknown operation %u", op);
	}
}

static int take_records(struct pack *pack, struct pack_result *result) {
	for (;;) {
		uint8_t op;
		int found = record_next(pack, &op);
		if (found == 0)
			return fault(pack->why, 0, "the records to pack end before the image is complete: whoever sends them has stopped");
		if (found < 0)
			return -1;
		if (op == OP_END)
			return image_end(pack, result);
		if (take_record(pack, op) || record_done(pack))
			return -1;
	}
}

static void release(struct pack *pack) {
	struct content *content = pack->contents.item;
	if (pack->blocks.slots)
		pipeline_stop(pack);
	for (size_t i = 0; i < pack->contents.count; i++)
		free(content[i].word);
	sqfs_destroy(pack->inodes);
	sqfs_destroy(pack->directories);
	sqfs_destroy(pack->compressor);
	void *const all[] = {
		pack->contents.item, pack->fragments.item, pack->known_blocks.slot, pack->known_tails.slot, pack->ref, pack->type, pack->parents.item,
		pack->ids.id, pack->ids.slot, pack->xattr_bytes.item, pack->xattr_sets.item, pack->in.buffer,
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free(all[i]);
}

int pack_image(int input, int target, const struct pack_options *options, struct pack_result *result, struct fault *why) {
	struct pack pack = { .options = options, .why = why, .in = { .fd = input } };
	output_init(&pack.out, target);
	int status = begin_image(&pack) || take_records(&pack, result) ? -1 : 0;
	release(&pack);
	return status;
}
