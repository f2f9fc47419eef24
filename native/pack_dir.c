// SPDX-License-Identifier: Apache-2.0
// Directories: the listing in runs of entries whose inodes lie near each other, an index for large ones, and the inode.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqfs/block.h>
#include <sqfs/dir.h>
#include <sqfs/inode.h>

#include "pack_inside.h"

enum { MAX_NAME_BYTES = 255, MAX_INDEX = 65535, MAX_STEP = 32767 };
#define ENTRY_BYTES (sizeof(sqfs_dir_entry_t) + MAX_NAME_BYTES)

// A directory being written, with the run of entries that is not written yet.
struct listing {
	sqfs_u64 block;                  // where it begins
	sqfs_u32 offset;
	uint64_t size;
	uint8_t run[SQFS_MAX_DIR_ENT * ENTRY_BYTES];
	size_t run_size;
	uint32_t run_count, run_number, run_block;
	char first[MAX_NAME_BYTES], last[MAX_NAME_BYTES];   // names: of the run, of the directory so far
	size_t first_size, last_size;
	struct array index;              // bytes
	uint32_t index_count;
	sqfs_u64 index_block;            // the metadata block that the last index entry, or the start, is in
};

// An index entry for each metadata block in which a run begins, but the first: the kernel starts there to look for a name.
static int add_index(struct pack *pack, struct listing *listing, sqfs_u64 block) {
	sqfs_dir_index_t entry = { .index = (uint32_t)listing->size, .start_block = (uint32_t)block, .size = (uint32_t)listing->first_size - 1 };
	if (block == listing->index_block || listing->index_count == MAX_INDEX)
		return 0;
	uint8_t *to = array_add(pack, &listing->index, 1, sizeof entry + listing->first_size);
	if (!to)
		return -1;
	memcpy(to, &entry, sizeof entry);
	memcpy(to + sizeof entry, listing->first, listing->first_size);
	listing->index_count++;
	listing->index_block = block;
	return 0;
}

static int write_run(struct pack *pack, struct listing *listing) {
	sqfs_dir_header_t head = { .count = listing->run_count - 1, .start_block = listing->run_block, .inode_number = listing->run_number };
	sqfs_u64 block;
	sqfs_u32 offset;
	if (!listing->run_count)
		return 0;
	sqfs_meta_writer_get_position(pack->directories, &block, &offset);
	if (add_index(pack, listing, block))
		return -1;
	int error = sqfs_meta_writer_append(pack->directories, &head, sizeof head);
	if (!error)
		error = sqfs_meta_writer_append(pack->directories, listing->run, listing->run_size);
	listing->size += sizeof head + listing->run_size;
	listing->run_count = 0;
	listing->run_size = 0;
	return error ? output_fault(pack, error, "the directories") : 0;
}

// Whether an entry can be in the run: a run ends with its metadata block, and its inodes lie in one block of theirs.
static int fits_run(struct pack *pack, const struct listing *listing, uint32_t number, uint64_t ref, size_t size) {
	int64_t step = (int64_t)number - listing->run_number;
	sqfs_u64 block;
	sqfs_u32 offset;
	if (listing->run_count == SQFS_MAX_DIR_ENT || ref >> 16 != listing->run_block || step > MAX_STEP || step < -MAX_STEP)
		return 0;
	sqfs_meta_writer_get_position(pack->directories, &block, &offset);
	return offset + sizeof(sqfs_dir_header_t) + listing->run_size + sizeof(sqfs_dir_entry_t) + size <= SQFS_META_BLOCK_SIZE;
}

static int add_entry(struct pack *pack, struct listing *listing, uint32_t number, const char *name, size_t size) {
	uint64_t ref = pack->ref[number - 1];
	if (listing->run_count && !fits_run(pack, listing, number, ref, size) && write_run(pack, listing))
		return -1;
	if (!listing->run_count) {
		listing->run_number = number;
		listing->run_block = (uint32_t)(ref >> 16);
		memcpy(listing->first, name, size);
		listing->first_size = size;
	}
	sqfs_dir_entry_t entry = {
		.offset = (uint16_t)(ref & 0xffff), .inode_diff = (int16_t)((int64_t)number - listing->run_number),
		.type = disk_type(pack->type[number - 1]), .size = (uint16_t)(size - 1),
	};
	memcpy(listing->run + listing->run_size, &entry, sizeof entry);
	memcpy(listing->run + listing->run_size + sizeof entry, name, size);
	listing->run_size += sizeof entry + size;
	listing->run_count++;
	memcpy(listing->last, name, size);
	listing->last_size = size;
	return 0;
}

static int is_sound_name(const char *name, size_t size) {
	if (memchr(name, 0, size) || memchr(name, '/', size))
		return 0;
	return !(name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')));
}

static int is_after(const struct listing *listing, const char *name, size_t size) {
	int order = memcmp(listing->last, name, listing->last_size < size ? listing->last_size : size);
	return order < 0 || (order == 0 && listing->last_size < size);
}

static int take_entry(struct pack *pack, struct listing *listing, uint32_t directory) {
	struct { uint32_t number; uint16_t size; } __attribute__((packed)) head;
	char name[MAX_NAME_BYTES];
	if (record_take(pack, &head, sizeof head))
		return -1;
	if (!head.size || head.size > MAX_NAME_BYTES)
		return record_fault(pack, "directory %u has a name of %u bytes (1 to %u are possible)", directory, head.size, MAX_NAME_BYTES);
	if (record_take(pack, name, head.size))
		return -1;
	if (!is_sound_name(name, head.size))
		return record_fault(pack, "directory %u has an entry \"%.*s\"", directory, (int)head.size, name);
	if (!is_after(listing, name, head.size))
		return record_fault(pack, "directory %u has \"%.*s\" not in the order of bytes, or twice", directory, (int)head.size, name);
	if (!head.number || head.number > pack->ref_room || !pack->type[head.number - 1])
		return record_fault(pack, "directory %u names inode %u, which is not defined before it", directory, head.number);
	return add_entry(pack, listing, head.number, name, head.size);
}

static int add_inode(struct pack *pack, const struct inode_head *head, uint32_t parent, const struct listing *listing) {
	uint64_t size = listing->size + 3;   // the kernel counts "." and ".." so
	int extended = size > UINT16_MAX || head->xattrs != NO_SET;
	if (size > UINT32_MAX || listing->block > UINT32_MAX)
		return record_fault(pack, "directory %u is too large", head->number);
	if (inode_begin(pack, head, extended))
		return -1;
	if (!extended) {
		sqfs_inode_dir_t dir = {
			.start_block = (uint32_t)listing->block, .nlink = head->nlink, .size = (uint16_t)size, .offset = (uint16_t)listing->offset,
			.parent_inode = parent,
		};
		return inode_add(pack, &dir, sizeof dir);
	}
	sqfs_inode_dir_ext_t dir = {
		.nlink = head->nlink, .size = (uint32_t)size, .start_block = (uint32_t)listing->block, .parent_inode = parent,
		.inodex_count = (uint16_t)listing->index_count, .offset = (uint16_t)listing->offset, .xattr_idx = head->xattrs,
	};
	return inode_add(pack, &dir, sizeof dir) || inode_add(pack, listing->index.item, listing->index.count) ? -1 : 0;
}

static int take_listing(struct pack *pack, struct listing *listing) {
	struct inode_head head;
	struct { uint32_t parent, count; } more;
	if (head_take(pack, &head) || record_take(pack, &more, sizeof more))
		return -1;
	if (head.type != TYPE_DIR)
		return record_fault(pack, "inode %u is listed, but no directory", head.number);
	sqfs_meta_writer_get_position(pack->directories, &listing->block, &listing->offset);
	listing->index_block = listing->block;
	for (uint32_t i = 0; i < more.count; i++)
		if (take_entry(pack, listing, head.number))
			return -1;
	uint32_t *parent = array_add(pack, &pack->parents, sizeof *parent, 2);
	if (!parent || write_run(pack, listing))
		return -1;
	parent[0] = head.number;
	parent[1] = more.parent;
	return add_inode(pack, &head, more.parent, listing);
}

int tree_directory(struct pack *pack) {
	struct listing *listing = calloc(1, sizeof *listing);
	if (!listing)
		return fault(pack->why, ENOMEM, "write the image");
	int status = take_listing(pack, listing);
	free(listing->index.item);
	free(listing);
	return status;
}
