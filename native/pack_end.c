// SPDX-License-Identifier: Apache-2.0
// The end of an image: what the tree must be, and the tables behind it in the order that the kernel wants.
#include <errno.h>
#include <unistd.h>

#include <sqfs/table.h>

#include "pack_inside.h"

enum { PADDING = 4096 };

struct end { uint32_t count, root; };

// Every number is defined, and every directory is in one.
static int check_tree(struct pack *pack, const struct end *end) {
	const uint32_t *pair = pack->parents.item;
	if (end->count != pack->defined)
		return record_fault(pack, "%u inodes are announced, %u are defined", end->count, pack->defined);
	for (uint32_t i = 0; i < end->count; i++)
		if (i >= pack->ref_room || !pack->type[i])
			return record_fault(pack, "inode %u is not defined", i + 1);
	if (!end->root || end->root > end->count || pack->type[end->root - 1] != TYPE_DIR)
		return record_fault(pack, "the root, inode %u, is no directory", end->root);
	for (size_t i = 0; i < pack->parents.count; i += 2) {
		uint32_t child = pair[i], parent = pair[i + 1];
		int sound = child == end->root ? parent == end->count + 1 : parent && parent <= end->count && pack->type[parent - 1] == TYPE_DIR;
		if (!sound)
			return record_fault(pack, "directory %u has the parent %u", child, parent);
	}
	return 0;
}

static int write_table(struct pack *pack, const void *data, size_t size, uint64_t *start) {
	sqfs_u64 found;
	int error = sqfs_write_table(&pack->out.file, &pack->for_tables.base, data, size, &found);
	*start = found;
	return error ? output_fault(pack, error, "a table") : 0;
}

static int write_tree(struct pack *pack) {
	int error = sqfs_meta_writer_flush(pack->inodes);
	if (!error)
		error = sqfs_meta_writer_flush(pack->directories);
	pack->super.directory_table_start = pack->out.size;
	if (!error)
		error = sqfs_meta_write_write_to_file(pack->directories);
	return error ? output_fault(pack, error, "the tree") : 0;
}

static int write_tables(struct pack *pack, const struct end *end) {
	sqfs_super_t *super = &pack->super;
	const struct array *fragments = &pack->fragments;
	size_t fragment_bytes = fragments->count * sizeof(struct fragment);
	if (write_tree(pack))
		return -1;
	if (fragments->count && write_table(pack, fragments->item, fragment_bytes, &super->fragment_table_start))
		return -1;
	if (write_table(pack, pack->ref, end->count * sizeof *pack->ref, &super->export_table_start))
		return -1;
	if (write_table(pack, pack->ids.id, pack->ids.count * sizeof *pack->ids.id, &super->id_table_start))
		return -1;
	return xattrs_write(pack);
}

static uint16_t superblock_flags(const struct pack *pack) {
	const struct pack_options *options = pack->options;
	unsigned flags = pack->super.flags & SQFS_FLAG_COMPRESSOR_OPTIONS;
	flags |= SQFS_FLAG_EXPORTABLE;
	flags |= options->raw_inodes ? SQFS_FLAG_UNCOMPRESSED_INODES | SQFS_FLAG_UNCOMPRESSED_IDS : 0;
	flags |= options->raw_data ? SQFS_FLAG_UNCOMPRESSED_DATA : 0;
	flags |= options->raw_fragments ? SQFS_FLAG_UNCOMPRESSED_FRAGMENTS : 0;
	flags |= options->raw_xattrs ? SQFS_FLAG_UNCOMPRESSED_XATTRS : 0;
	flags |= options->no_fragments ? SQFS_FLAG_NO_FRAGMENTS : SQFS_FLAG_ALWAYS_FRAGMENTS;
	// The bit says, whatever libsquashfs calls it, that duplicates were looked for.
	flags |= options->no_duplicates ? 0 : SQFS_FLAG_NO_DUPLICATES;
	flags |= pack->xattr_sets.count ? 0 : SQFS_FLAG_NO_XATTRS;
	return (uint16_t)flags;
}

int image_end(struct pack *pack, struct pack_result *result) {
	struct end end;
	sqfs_super_t *super = &pack->super;
	if (tree_begin(pack) || record_take(pack, &end, sizeof end) || record_done(pack))
		return -1;
	if (check_tree(pack, &end) || write_tables(pack, &end))
		return -1;
	uint64_t size = (pack->out.size + PADDING - 1) / PADDING * PADDING;
	*result = (struct pack_result){ size, pack->out.size, end.count };
	super->flags = superblock_flags(pack);
	super->inode_count = end.count;
	super->fragment_entry_count = (uint32_t)pack->fragments.count;
	super->id_count = (uint16_t)pack->ids.count;
	super->root_inode_ref = pack->ref[end.root - 1];
	super->bytes_used = pack->out.size;
	int error = sqfs_super_write(super, &pack->out.file);
	if (error)
		return output_fault(pack, error, "the superblock");
	// Also takes away what a duplicate left behind the end.
	return ftruncate(pack->out.fd, (off_t)result->bytes_used) || ftruncate(pack->out.fd, (off_t)size) ? fault(pack->why, errno, "write the image") : 0;
}
