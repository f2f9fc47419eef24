// SPDX-License-Identifier: Apache-2.0
// Inodes, as they lie on disk (Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h of Linux). All of this machine's integers are
// little-endian, as the format's are.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqfs/error.h>
#include <sqfs/inode.h>

#include "pack_inside.h"

enum { MAX_TARGET_BYTES = 4095, MAX_MAJOR = 0xfff, MAX_MINOR = 0xfffff };

uint16_t disk_type(uint8_t type) {
	static const uint16_t types[] = {
		0, SQFS_INODE_FILE, SQFS_INODE_DIR, SQFS_INODE_SLINK, SQFS_INODE_CDEV, SQFS_INODE_BDEV, SQFS_INODE_FIFO, SQFS_INODE_SOCKET,
	};
	return types[type];
}

int tree_begin(struct pack *pack) {
	if (pack->in_tree)
		return 0;
	if (data_finish(pack))
		return -1;
	sqfs_compressor_t *compressor = &pack->for_tables.base;
	pack->in_tree = 1;
	pack->super.inode_table_start = pack->out.size;
	pack->inodes = sqfs_meta_writer_create(&pack->out.file, compressor, 0);
	pack->directories = sqfs_meta_writer_create(&pack->out.file, compressor, SQFS_META_WRITER_KEEP_IN_MEMORY);
	return pack->inodes && pack->directories ? 0 : fault(pack->why, ENOMEM, "write the image");
}

static int make_room(struct pack *pack, uint32_t number) {
	uint32_t room = pack->ref_room ? pack->ref_room : 1024;
	if (number <= pack->ref_room)
		return 0;
	while (room < number)
		room *= 2;
	uint64_t *ref = reallocarray(pack->ref, room, sizeof *ref);
	if (ref)
		pack->ref = ref;
	uint8_t *type = ref ? realloc(pack->type, room) : NULL;
	if (!type)
		return fault(pack->why, ENOMEM, "write the image: %u inodes", room);
	memset(type + pack->ref_room, 0, room - pack->ref_room);
	pack->type = type;
	pack->ref_room = room;
	return 0;
}

int head_take(struct pack *pack, struct inode_head *head) {
	if (tree_begin(pack) || record_take(pack, head, sizeof *head))
		return -1;
	if (!head->number || head->number > MAX_INODES)
		return record_fault(pack, "an inode number of %u", head->number);
	if (!head->type || head->type > TYPE_SOCKET)
		return record_fault(pack, "inode %u is of an unknown type %u", head->number, head->type);
	if (head->mode & ~07777u || !head->nlink)
		return record_fault(pack, "inode %u has a mode of %o and %u links", head->number, head->mode, head->nlink);
	if (head->xattrs != NO_SET && head->xattrs >= pack->xattr_sets.count)
		return record_fault(pack, "inode %u has set %u of attributes, of %zu", head->number, head->xattrs, pack->xattr_sets.count);
	if (make_room(pack, head->number))
		return -1;
	if (pack->type[head->number - 1])
		return record_fault(pack, "inode %u is defined twice", head->number);
	return 0;
}

int inode_add(struct pack *pack, const void *data, size_t size) {
	int error = sqfs_meta_writer_append(pack->inodes, data, size);
	return error ? output_fault(pack, error, "the inodes") : 0;
}

int inode_begin(struct pack *pack, const struct inode_head *head, int extended) {
	int uid = id_index(pack, head->uid), gid = uid < 0 ? -1 : id_index(pack, head->gid);
	sqfs_u64 block;
	sqfs_u32 offset;
	if (gid < 0)
		return -1;
	sqfs_meta_writer_get_position(pack->inodes, &block, &offset);
	if (block > UINT32_MAX)
		return record_fault(pack, "the inodes are larger than 4 GiB");
	pack->ref[head->number - 1] = (uint64_t)block << 16 | offset;
	pack->type[head->number - 1] = head->type;
	pack->defined++;
	uint16_t type = disk_type(head->type);
	sqfs_inode_t base = {
		.type = extended ? (uint16_t)(type + SQFS_INODE_EXT_DIR - SQFS_INODE_DIR) : type, .mode = head->mode,
		.uid_idx = (uint16_t)uid, .gid_idx = (uint16_t)gid, .mod_time = head->mtime, .inode_number = head->number,
	};
	return inode_add(pack, &base, sizeof base);
}

// The sizes of a file's blocks. A run of holes may be long.
static int add_words(struct pack *pack, const struct content *content) {
	static const uint32_t zeros[2048];
	for (uint32_t i = 0; i < content->words; i++) {
		uint32_t word = content->word[i], run = word & HOLE_RUN ? word & ~HOLE_RUN : 0;
		if (!run && inode_add(pack, &word, sizeof word))
			return -1;
		for (uint32_t part; run; run -= part) {
			part = run < 2048 ? run : 2048;
			if (inode_add(pack, zeros, part * sizeof *zeros))
				return -1;
		}
	}
	return 0;
}

static struct content *find_content(struct pack *pack, const struct inode_head *head, uint32_t number) {
	if (number >= pack->contents.count) {
		record_fault(pack, "inode %u has content %u, of %zu", head->number, number, pack->contents.count);
		return NULL;
	}
	struct content *content = (struct content *)pack->contents.item + number;
	if (content->taken) {
		record_fault(pack, "content %u belongs to two inodes", number);
		return NULL;
	}
	content->taken = 1;
	return content;
}

static int add_file(struct pack *pack, const struct inode_head *head) {
	static struct content empty = { .fragment = NO_FRAGMENT };
	struct content *content = &empty;
	uint32_t number;
	if (record_take(pack, &number, sizeof number))
		return -1;
	if (number != NO_CONTENT && !(content = find_content(pack, head, number)))
		return -1;
	int large = content->start > UINT32_MAX || content->size > UINT32_MAX;
	int extended = large || content->sparse || head->nlink > 1 || head->xattrs != NO_SET;
	if (inode_begin(pack, head, extended))
		return -1;
	if (extended) {
		sqfs_inode_file_ext_t file = {
			.blocks_start = content->start, .file_size = content->size, .sparse = content->sparse, .nlink = head->nlink,
			.fragment_idx = content->fragment, .fragment_offset = content->offset, .xattr_idx = head->xattrs,
		};
		return inode_add(pack, &file, sizeof file) || add_words(pack, content) ? -1 : 0;
	}
	sqfs_inode_file_t file = {
		.blocks_start = (uint32_t)content->start, .fragment_index = content->fragment, .fragment_offset = content->offset,
		.file_size = (uint32_t)content->size,
	};
	return inode_add(pack, &file, sizeof file) || add_words(pack, content) ? -1 : 0;
}

static int add_symlink(struct pack *pack, const struct inode_head *head) {
	char target[MAX_TARGET_BYTES];
	uint32_t size = pack->in.left;
	if (!size || size > MAX_TARGET_BYTES)
		return record_fault(pack, "inode %u is a symlink with a target of %u bytes (1 to %u are possible)", head->number, size, MAX_TARGET_BYTES);
	if (record_take(pack, target, size))
		return -1;
	if (memchr(target, 0, size))
		return record_fault(pack, "inode %u is a symlink with a NUL in its target", head->number);
	sqfs_inode_slink_t link = { .nlink = head->nlink, .target_size = size };
	if (inode_begin(pack, head, head->xattrs != NO_SET) || inode_add(pack, &link, sizeof link) || inode_add(pack, target, size))
		return -1;
	return head->xattrs != NO_SET ? inode_add(pack, &head->xattrs, sizeof head->xattrs) : 0;
}

static int add_special(struct pack *pack, const struct inode_head *head) {
	struct { uint32_t nlink, device; } body = { .nlink = head->nlink };
	struct { uint32_t major, minor; } number;
	int is_device = head->type == TYPE_CHAR || head->type == TYPE_BLOCK;
	if (is_device && record_take(pack, &number, sizeof number))
		return -1;
	if (is_device && (number.major > MAX_MAJOR || number.minor > MAX_MINOR))
		return record_fault(pack, "inode %u is device %u:%u, which Linux cannot name", head->number, number.major, number.minor);
	if (is_device)
		body.device = (number.minor & 0xff) | number.major << 8 | (number.minor & ~0xffu) << 12;
	if (inode_begin(pack, head, head->xattrs != NO_SET) || inode_add(pack, &body, is_device ? sizeof body : sizeof body.nlink))
		return -1;
	return head->xattrs != NO_SET ? inode_add(pack, &head->xattrs, sizeof head->xattrs) : 0;
}

int tree_inode(struct pack *pack) {
	struct inode_head head;
	if (head_take(pack, &head))
		return -1;
	switch (head.type) {
	case TYPE_FILE: return add_file(pack, &head);
	case TYPE_SYMLINK: return add_symlink(pack, &head);
	case TYPE_DIR: return record_fault(pack, "inode %u is a directory, for which there is a record of its own", head.number);
	default: return add_special(pack, &head);
	}
}
