// SPDX-License-Identifier: Apache-2.0
// Extended attributes. libsquashfs' reader allocates whatever length a value claims; this one reads the same three levels (index, descriptor,
// pairs; a value may be elsewhere) with the kernel's bounds.
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqfs/error.h>
#include <sqfs/xattr.h>

#include "image_inside.h"

#define MAX_NAME_BYTES 255
// XATTR_SIZE_MAX of Linux.
#define MAX_VALUE_BYTES 65536
#define NO_TABLE UINT64_MAX
// The kernel lists at most 64 KiB of names (XATTR_LIST_MAX).
#define MAX_PAIRS 65536

struct pairs { sqfs_meta_reader_t *meta; uint64_t start; };

static int read_bytes(const struct pairs *pairs, void *data, size_t size) {
	int status = sqfs_meta_reader_read(pairs->meta, data, size);
	return status ? errno_of_sqfs(status) : 0;
}

static int seek(const struct pairs *pairs, uint64_t ref) {
	if (ref >> 48)
		return -EIO;
	int status = sqfs_meta_reader_seek(pairs->meta, pairs->start + (ref >> 16), ref & 0xffff);
	return status ? errno_of_sqfs(status) : 0;
}

// Prefix and rest of the name. The type of the key, or a negative errno.
static int read_name(const struct pairs *pairs, char *name) {
	static const char *const prefix[] = { "user.", "trusted.", "security." };
	struct { uint16_t type, size; } key;
	int error = read_bytes(pairs, &key, sizeof key);
	if (error)
		return error;
	uint16_t type = le16toh(key.type) & 0xff, size = le16toh(key.size);
	if (type >= sizeof prefix / sizeof *prefix || !size)
		return -EIO;
	size_t prefix_size = strlen(prefix[type]);
	if (prefix_size + size > MAX_NAME_BYTES)
		return -EIO;
	memcpy(name, prefix[type], prefix_size);
	if ((error = read_bytes(pairs, name + prefix_size, size)))
		return error;
	if (memchr(name + prefix_size, 0, size))
		return -EIO;
	name[prefix_size + size] = 0;
	return le16toh(key.type);
}

// The size of the value, or a negative errno. A value that is elsewhere leaves the reader there.
static int read_value(const struct pairs *pairs, int elsewhere, void *value) {
	uint32_t size;
	uint64_t ref;
	int error = read_bytes(pairs, &size, sizeof size);
	if (!error && elsewhere) {
		if (le32toh(size) != sizeof ref)
			return -EIO;
		if ((error = read_bytes(pairs, &ref, sizeof ref)))
			return error;
		if ((error = seek(pairs, le64toh(ref))))
			return error;
		error = read_bytes(pairs, &size, sizeof size);
	}
	if (error)
		return error;
	size = le32toh(size);
	if (size > MAX_VALUE_BYTES)
		return -EIO;
	if (size && (error = read_bytes(pairs, value, size)))
		return error;
	return (int)size;
}

// One name and value. The reader is then at the next pair, unless this was the last.
static int read_pair(const struct pairs *pairs, char *name, void *value, int last) {
	uint64_t block = 0;
	size_t offset = 0;
	int type = read_name(pairs, name);
	if (type < 0)
		return type;
	int elsewhere = (type & SQFS_XATTR_FLAG_OOL) != 0;
	if (!elsewhere)
		return read_value(pairs, 0, value);
	// The pair itself goes on for a length and a reference; skip them, note the place, come back.
	uint8_t skipped[sizeof(uint32_t) + sizeof(uint64_t)];
	uint64_t value_block = 0;
	size_t value_offset = 0;
	sqfs_meta_reader_get_position(pairs->meta, &value_block, &value_offset);
	int error = read_bytes(pairs, skipped, sizeof skipped);
	if (error)
		return error;
	sqfs_meta_reader_get_position(pairs->meta, &block, &offset);
	if (sqfs_meta_reader_seek(pairs->meta, value_block, value_offset))
		return -EIO;
	int size = read_value(pairs, 1, value);
	// The end of the last pair may be the end of the table, where there is nothing to seek to.
	if (size >= 0 && !last && sqfs_meta_reader_seek(pairs->meta, block, offset))
		return -EIO;
	return size;
}

static int list_pairs(struct image_reader *reader, uint32_t index, void *value,
		int (*each)(void *arg, const char *name, const void *value, size_t size), void *arg) {
	const sqfs_super_t *super = &reader->image->super;
	struct { uint64_t start; uint32_t count, unused; } table;
	struct { uint64_t ref; uint32_t count, size; } set;
	char name[MAX_NAME_BYTES + 1];
	if (super->xattr_id_table_start == NO_TABLE)
		return -EIO;
	int error = image_pread(reader->image, super->xattr_id_table_start, &table, sizeof table);
	if (error)
		return error;
	if (index >= le32toh(table.count) || le64toh(table.start) > super->bytes_used)
		return -EIO;
	struct pairs pairs = { reader->tables, le64toh(table.start) };
	error = image_table_entry(reader, super->xattr_id_table_start + sizeof table, index, &set, sizeof set);
	if (error || (error = seek(&pairs, le64toh(set.ref))))
		return error;
	uint32_t count = le32toh(set.count);
	if (count > MAX_PAIRS)
		return -EIO;
	for (uint32_t i = 0; i < count; i++) {
		int size = read_pair(&pairs, name, value, i + 1 == count);
		if (size < 0)
			return size;
		if (each(arg, name, value, (size_t)size))
			break;
	}
	return 0;
}

int image_xattrs(struct image_reader *reader, uint64_t ref,
		int (*each)(void *arg, const char *name, const void *value, size_t size), void *arg) {
	struct node *node;
	int error = node_get(reader, ref, &node);
	if (error)
		return error;
	uint32_t index = node->xattr;
	node_release(reader, node);
	if (index == NO_INDEX)
		return 0;
	void *value = malloc(MAX_VALUE_BYTES);
	if (!value)
		return -ENOMEM;
	error = list_pairs(reader, index, value, each, arg);
	free(value);
	if (error)
		image_reader_reset(reader);
	return error;
}
