// SPDX-License-Identifier: Apache-2.0
// Sets of extended attributes, kept as they will lie on disk until the end of the image.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqfs/block.h>
#include <sqfs/error.h>

#include "pack_inside.h"

enum { MAX_NAME_BYTES = 255, MAX_VALUE_BYTES = 65536, MAX_ATTRIBUTES = 65536 };

struct set { uint64_t start; uint32_t count, size; };
struct id_entry { uint64_t ref; uint32_t count, size; };

// The namespaces of the on-disk format; there are no others.
static int split_name(const char *name, size_t size, uint16_t *type, size_t *prefix_size) {
	static const char *const prefix[] = { "user.", "trusted.", "security." };
	for (uint16_t i = 0; i < sizeof prefix / sizeof *prefix; i++) {
		*prefix_size = strlen(prefix[i]);
		*type = i;
		if (size > *prefix_size && !memcmp(name, prefix[i], *prefix_size))
			return 0;
	}
	return -1;
}

static int take_attribute(struct pack *pack) {
	struct { uint16_t name_size; uint32_t value_size; } __attribute__((packed)) head;
	char name[MAX_NAME_BYTES + 1];
	uint16_t type;
	size_t prefix;
	if (record_take(pack, &head, sizeof head))
		return -1;
	if (head.name_size > MAX_NAME_BYTES || head.value_size > MAX_VALUE_BYTES)
		return record_fault(pack, "an attribute with a name of %u and a value of %u bytes", head.name_size, head.value_size);
	if (record_take(pack, name, head.name_size))
		return -1;
	name[head.name_size] = 0;
	if (strlen(name) != head.name_size || split_name(name, head.name_size, &type, &prefix))
		return record_fault(pack, "squashfs cannot store the attribute \"%.64s\"", name);
	uint16_t size = (uint16_t)(head.name_size - prefix);
	uint8_t *to = array_add(pack, &pack->xattr_bytes, 1, 8 + (size_t)size + head.value_size);
	if (!to)
		return -1;
	memcpy(to, &type, 2);
	memcpy(to + 2, &size, 2);
	memcpy(to + 4, name + prefix, size);
	memcpy(to + 4 + size, &head.value_size, 4);
	return record_take(pack, to + 8 + size, head.value_size);
}

int xattrs_take(struct pack *pack) {
	struct set set = { .start = pack->xattr_bytes.count };
	if (record_take(pack, &set.count, sizeof set.count))
		return -1;
	if (!set.count || set.count > MAX_ATTRIBUTES || pack->xattr_sets.count >= NO_SET - 1)
		return record_fault(pack, "a set of %u attributes", set.count);
	for (uint32_t i = 0; i < set.count; i++)
		if (take_attribute(pack))
			return -1;
	if (pack->xattr_bytes.count - set.start > UINT32_MAX)
		return record_fault(pack, "a set of attributes of more than 4 GiB");
	set.size = (uint32_t)(pack->xattr_bytes.count - set.start);
	struct set *added = array_add(pack, &pack->xattr_sets, sizeof *added, 1);
	if (!added)
		return -1;
	*added = set;
	return 0;
}

// The table of sets: each says where its attributes are. Gives the places of the table's blocks, relative to its start.
static int write_sets(struct pack *pack, sqfs_meta_writer_t *writer, const struct id_entry *entry, uint64_t *place) {
	size_t blocks = 0;
	for (size_t i = 0; i < pack->xattr_sets.count; i++) {
		sqfs_u64 block;
		sqfs_u32 offset;
		sqfs_meta_writer_get_position(writer, &block, &offset);
		if (!offset)
			place[blocks++] = block;
		int error = sqfs_meta_writer_append(writer, &entry[i], sizeof entry[i]);
		if (error)
			return output_fault(pack, error, "the table of attributes");
	}
	int error = sqfs_meta_writer_flush(writer);
	return error ? output_fault(pack, error, "the table of attributes") : 0;
}

static int write_attributes(struct pack *pack, sqfs_meta_writer_t *writer, struct id_entry *entry) {
	const struct set *set = pack->xattr_sets.item;
	int error = 0;
	for (size_t i = 0; i < pack->xattr_sets.count && !error; i++) {
		sqfs_u64 block;
		sqfs_u32 offset;
		sqfs_meta_writer_get_position(writer, &block, &offset);
		entry[i] = (struct id_entry){ (uint64_t)block << 16 | offset, set[i].count, set[i].size };
		error = sqfs_meta_writer_append(writer, (const uint8_t *)pack->xattr_bytes.item + set[i].start, set[i].size);
	}
	if (!error)
		error = sqfs_meta_writer_flush(writer);
	return error ? output_fault(pack, error, "the attributes") : 0;
}

static int write_tables(struct pack *pack, sqfs_meta_writer_t *writer, struct id_entry *entry, uint64_t *place, size_t places) {
	struct { uint64_t start; uint32_t sets, unused; } head = { pack->out.size, (uint32_t)pack->xattr_sets.count, 0 };
	if (write_attributes(pack, writer, entry))
		return -1;
	sqfs_meta_writer_reset(writer);
	uint64_t start = pack->out.size;
	if (write_sets(pack, writer, entry, place))
		return -1;
	for (size_t i = 0; i < places; i++)
		place[i] += start;
	pack->super.xattr_id_table_start = pack->out.size;
	return output_append(pack, &head, sizeof head) || output_append(pack, place, places * sizeof *place) ? -1 : 0;
}

int xattrs_write(struct pack *pack) {
	size_t count = pack->xattr_sets.count;
	if (!count)
		return 0;
	size_t places = (count * sizeof(struct id_entry) + SQFS_META_BLOCK_SIZE - 1) / SQFS_META_BLOCK_SIZE;
	sqfs_meta_writer_t *writer = sqfs_meta_writer_create(&pack->out.file, &pack->for_xattrs.base, 0);
	struct id_entry *entry = calloc(count, sizeof *entry);
	uint64_t *place = calloc(places, sizeof *place);
	int status = writer && entry && place ? write_tables(pack, writer, entry, place, places) : fault(pack->why, ENOMEM, "write the image");
	sqfs_destroy(writer);
	free(entry);
	free(place);
	return status;
}
