// SPDX-License-Identifier: Apache-2.0
// User and group ids, each stored once. An image has room for 65535 of them.
#include <errno.h>
#include <stdlib.h>

#include "pack_inside.h"

enum { MAX_IDS = 65535, PLACES = 1 << 17 };

int id_index(struct pack *pack, uint32_t id) {
	struct id_table *ids = &pack->ids;
	if (!ids->id) {
		ids->id = calloc(MAX_IDS, sizeof *ids->id);
		ids->slot = calloc(PLACES, sizeof *ids->slot);
		if (!ids->id || !ids->slot)
			return fault(pack->why, ENOMEM, "write the image");
	}
	uint32_t at = id * 0x9e3779b1u >> 15;
	// A place holds an index plus one.
	for (; ids->slot[at]; at = (at + 1) % PLACES)
		if (ids->id[ids->slot[at] - 1] == id)
			return ids->slot[at] - 1;
	if (ids->count == MAX_IDS)
		return record_fault(pack, "more than %u different user and group ids, which is all that squashfs can store", MAX_IDS);
	ids->id[ids->count++] = id;
	ids->slot[at] = (uint16_t)ids->count;
	return (int)ids->count - 1;
}
