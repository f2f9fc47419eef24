// SPDX-License-Identifier: Apache-2.0
// Inodes: checked before libsquashfs decodes them (it allocates what an inode claims), then kept in a compact form.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <sqfs/block.h>
#include <sqfs/error.h>

#include "image_inside.h"

// As PATH_MAX of Linux; the kernel's squashfs refuses longer targets as well.
#define MAX_TARGET_BYTES 4095
// A metadata block holds 8192 bytes and takes at least a header and a few bytes on disk.
#define MIN_META_BLOCK_BYTES 4

static uint32_t type_bits(uint16_t type) {
	switch (type) {
	case SQFS_INODE_DIR: case SQFS_INODE_EXT_DIR: return S_IFDIR;
	case SQFS_INODE_FILE: case SQFS_INODE_EXT_FILE: return S_IFREG;
	case SQFS_INODE_SLINK: case SQFS_INODE_EXT_SLINK: return S_IFLNK;
	case SQFS_INODE_BDEV: case SQFS_INODE_EXT_BDEV: return S_IFBLK;
	case SQFS_INODE_CDEV: case SQFS_INODE_EXT_CDEV: return S_IFCHR;
	case SQFS_INODE_FIFO: case SQFS_INODE_EXT_FIFO: return S_IFIFO;
	case SQFS_INODE_SOCKET: case SQFS_INODE_EXT_SOCKET: return S_IFSOCK;
	default: return 0;
	}
}

// Bytes that a table between two addresses could unpack to.
static uint64_t unpacked_bound(uint64_t start, uint64_t end) {
	return ((end - start) / MIN_META_BLOCK_BYTES + 1) * SQFS_META_BLOCK_SIZE;
}

// Reads the fixed part of the inode and checks every size that libsquashfs would allocate for.
static int check_claims(struct image_reader *reader, uint64_t block, size_t offset) {
	const sqfs_super_t *super = &reader->image->super;
	struct {
		sqfs_inode_t base;
		union { sqfs_inode_file_t file; sqfs_inode_file_ext_t file_ext; sqfs_inode_slink_t link; sqfs_inode_dir_ext_t dir; } data;
	} raw;
	uint64_t room = unpacked_bound(super->inode_table_start, super->directory_table_start);
	size_t size;
	int status = sqfs_meta_reader_seek(reader->inodes, block, offset);
	if (status || (status = sqfs_meta_reader_read(reader->inodes, &raw.base, sizeof raw.base)))
		return errno_of_sqfs(status);
	switch (raw.base.type) {
	case SQFS_INODE_FILE: size = sizeof raw.data.file; break;
	case SQFS_INODE_EXT_FILE: size = sizeof raw.data.file_ext; break;
	case SQFS_INODE_SLINK: case SQFS_INODE_EXT_SLINK: size = sizeof raw.data.link; break;
	case SQFS_INODE_EXT_DIR: size = sizeof raw.data.dir; break;
	default: return type_bits(raw.base.type) ? 0 : -EIO;
	}
	if ((status = sqfs_meta_reader_read(reader->inodes, &raw.data, size)))
		return errno_of_sqfs(status);
	switch (raw.base.type) {
	case SQFS_INODE_FILE:
		return raw.data.file.file_size / super->block_size > room / 4 ? -EIO : 0;
	case SQFS_INODE_EXT_FILE:
		return raw.data.file_ext.file_size > INT64_MAX || raw.data.file_ext.file_size / super->block_size > room / 4 ? -EIO : 0;
	case SQFS_INODE_EXT_DIR:
		return raw.data.dir.size > unpacked_bound(super->directory_table_start, super->bytes_used) ? -EIO : 0;
	default:
		return raw.data.link.target_size > MAX_TARGET_BYTES || !raw.data.link.target_size ? -EIO : 0;
	}
}

// Where each block of the file is: they follow each other on disk.
static int place_extents(struct node *node, const sqfs_inode_generic_t *raw, const sqfs_super_t *super) {
	uint64_t at = 0;
	if (sqfs_inode_get_file_block_start(raw, &at))
		return -EIO;
	for (size_t i = 0; i < node->extents; i++) {
		uint32_t size = SQFS_ON_DISK_BLOCK_SIZE(raw->extra[i]);
		if (size > super->block_size)
			return -EIO;
		node->extent[i] = (struct extent){ at, size ? raw->extra[i] : 0 };
		if (size && (at > super->bytes_used || size > super->bytes_used - at))
			return -EIO;
		at += size;
	}
	return 0;
}

static int find_fragment(struct image_reader *reader, struct node *node, const sqfs_inode_generic_t *raw) {
	const sqfs_super_t *super = &reader->image->super;
	uint32_t index = 0, offset = 0, tail = (uint32_t)(node->stat.size % super->block_size);
	struct { uint64_t at; uint32_t word, unused; } entry;
	if (sqfs_inode_get_frag_location(raw, &index, &offset))
		return -EIO;
	if (index == NO_INDEX || offset == NO_INDEX || !tail)
		return 0;
	if (index >= super->fragment_entry_count || offset > super->block_size || tail > super->block_size - offset)
		return -EIO;
	int error = image_table_entry(reader, super->fragment_table_start, index, &entry, sizeof entry);
	if (error)
		return error;
	uint32_t size = SQFS_ON_DISK_BLOCK_SIZE(entry.word);
	if (!size || size > super->block_size || entry.at < sizeof *super || entry.at > super->bytes_used
			|| size > super->bytes_used - entry.at)
		return -EIO;
	node->fragment = (struct extent){ entry.at, entry.word };
	node->fragment_offset = offset;
	return 0;
}

static int fill_file(struct image_reader *reader, struct node *node, const sqfs_inode_generic_t *raw) {
	const sqfs_super_t *super = &reader->image->super;
	sqfs_u64 size = 0;
	sqfs_inode_get_file_size(raw, &size);
	node->stat.size = size;
	node->stat.links = raw->base.type == SQFS_INODE_FILE ? 1 : raw->data.file_ext.nlink;
	int error = find_fragment(reader, node, raw);
	if (error)
		return error;
	// A list of blocks that does not fit the size is damage.
	uint64_t blocks = size / super->block_size + (size % super->block_size && !node->fragment.at);
	if (blocks != node->extents)
		return -EIO;
	return place_extents(node, raw, super);
}

static int fill_links(struct image_reader *reader, struct node *node, const sqfs_inode_generic_t *raw) {
	switch (raw->base.type) {
	case SQFS_INODE_FILE: case SQFS_INODE_EXT_FILE:
		return fill_file(reader, node, raw);
	case SQFS_INODE_DIR:
		node->stat.links = raw->data.dir.nlink;
		node->stat.size = raw->data.dir.size;
		break;
	case SQFS_INODE_EXT_DIR:
		node->stat.links = raw->data.dir_ext.nlink;
		node->stat.size = raw->data.dir_ext.size;
		break;
	case SQFS_INODE_SLINK: case SQFS_INODE_EXT_SLINK:
		node->stat.links = raw->data.slink.nlink;
		node->stat.size = raw->data.slink.target_size;
		memcpy(node->target, raw->extra, node->stat.size);
		return memchr(node->target, 0, node->stat.size) ? -EIO : 0;
	case SQFS_INODE_BDEV: case SQFS_INODE_CDEV: case SQFS_INODE_EXT_BDEV: case SQFS_INODE_EXT_CDEV: {
		// The kernel's encoding of the number (new_encode_dev): minor bits 0 to 7 and 20 up, major bits 8 to 19.
		uint32_t number = raw->data.dev.devno;
		node->stat.links = raw->data.dev.nlink;
		node->stat.rdev = (uint32_t)makedev((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
		return 0;
	}
	default:
		node->stat.links = raw->data.ipc.nlink;
		return 0;
	}
	// A directory; its stored size counts three bytes that are not there.
	int status = sqfs_readdir_state_init(&node->dir, &reader->image->super, raw);
	return status ? errno_of_sqfs(status) : 0;
}

static int decode(struct image_reader *reader, uint64_t ref, const sqfs_inode_generic_t *raw, struct node **made) {
	struct image *image = reader->image;
	uint32_t type = type_bits(raw->base.type);
	sqfs_u32 uid, gid, xattr = NO_INDEX;
	size_t extents = S_ISREG(type) ? sqfs_inode_get_file_block_count(raw) : 0;
	size_t bytes = sizeof(struct node) + extents * sizeof(struct extent);
	if (S_ISLNK(type))
		bytes += raw->data.slink.target_size;
	if (sqfs_id_table_index_to_id(image->ids, raw->base.uid_idx, &uid)
			|| sqfs_id_table_index_to_id(image->ids, raw->base.gid_idx, &gid) || sqfs_inode_get_xattr_index(raw, &xattr))
		return -EIO;
	struct node *node = calloc(1, bytes);
	if (!node)
		return -ENOMEM;
	node->object.key = ref;
	node->object.bytes = bytes;
	node->extents = extents;
	node->xattr = xattr;
	node->target = (char *)node->extent;
	node->stat = (struct image_node){
		.ref = ref, .number = raw->base.inode_number, .mode = type | (raw->base.mode & 07777),
		.uid = uid, .gid = gid, .mtime = raw->base.mod_time,
	};
	int error = fill_links(reader, node, raw);
	if (error) {
		free(node);
		return error;
	}
	if (!node->stat.links)
		node->stat.links = 1;
	*made = node;
	return 0;
}

int node_get(struct image_reader *reader, uint64_t ref, struct node **node) {
	struct image *image = reader->image;
	const sqfs_super_t *super = &image->super;
	struct object *object = object_cache_get(image->objects, ref);
	if (object) {
		*node = (struct node *)object;
		return 0;
	}
	if (ref >> 48)
		return -EIO;
	uint64_t block = super->inode_table_start + (ref >> 16);
	sqfs_inode_generic_t *raw = NULL;
	struct node *made = NULL;
	int error = check_claims(reader, block, ref & 0xffff);
	if (!error) {
		int status = sqfs_meta_reader_read_inode(reader->inodes, super, ref >> 16, ref & 0xffff, &raw);
		error = status ? errno_of_sqfs(status) : decode(reader, ref, raw, &made);
	}
	sqfs_free(raw);
	if (error) {
		image_reader_reset(reader);
		return error;
	}
	*node = (struct node *)object_cache_put(image->objects, &made->object);
	return 0;
}

void node_release(struct image_reader *reader, struct node *node) {
	object_cache_release(reader->image->objects, &node->object);
}

int image_stat(struct image_reader *reader, uint64_t ref, struct image_node *out) {
	struct node *node;
	int error = node_get(reader, ref, &node);
	if (error)
		return error;
	*out = node->stat;
	node_release(reader, node);
	return 0;
}

ssize_t image_readlink(struct image_reader *reader, uint64_t ref, char *target, size_t size) {
	struct node *node;
	int error = node_get(reader, ref, &node);
	if (error)
		return error;
	ssize_t result = -EINVAL;
	if (S_ISLNK(node->stat.mode)) {
		result = (ssize_t)(node->stat.size < size ? node->stat.size : size);
		memcpy(target, node->target, (size_t)result);
	}
	node_release(reader, node);
	return result;
}
