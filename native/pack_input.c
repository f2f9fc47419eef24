// SPDX-License-Identifier: Apache-2.0
// Records from a descriptor. Large ones are read straight to where they are wanted.
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pack_inside.h"

enum { BUFFER = 256 << 10, DIRECT = 32 << 10 };

int record_fault(struct pack *pack, const char *format, ...) {
	char text[256];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	// Names come from images: nothing of them may steer a terminal.
	hide_controls(text);
	return fault(pack->why, 0, "pack record %llu: %s", (unsigned long long)pack->in.number, text);
}

static ssize_t read_some(struct pack_input *in, void *data, size_t size) {
	ssize_t done;
	do
		done = read(in->fd, data, size);
	while (done < 0 && errno == EINTR);
	return done;
}

// 1: all of it; 0: the stream ends before its first byte; -1
static int take(struct pack *pack, void *data, size_t size) {
	struct pack_input *in = &pack->in;
	uint8_t *to = data, *end = to + size;
	while (to < end) {
		size_t part = in->end - in->at;
		if (part > (size_t)(end - to))
			part = (size_t)(end - to);
		memcpy(to, in->buffer + in->at, part);
		to += part;
		in->at += part;
		if (to == end)
			break;
		int direct = end - to >= DIRECT;
		ssize_t done = direct ? read_some(in, to, (size_t)(end - to)) : read_some(in, in->buffer, BUFFER);
		if (done < 0)
			return fault(pack->why, errno, "read the records to pack");
		if (done == 0 && to == data)
			return 0;
		if (done == 0)
			return fault(pack->why, 0, "the records to pack end in the middle of one: whoever sends them has stopped");
		if (direct)
			to += done;
		else
			in->at = 0, in->end = (size_t)done;
	}
	return 1;
}

int record_next(struct pack *pack, uint8_t *op) {
	uint32_t little;
	int found = take(pack, &little, sizeof little);
	if (found <= 0)
		return found;
	pack->in.number++;
	pack->in.left = le32toh(little);
	return record_take(pack, op, 1) ? -1 : 1;
}

int record_take(struct pack *pack, void *data, size_t size) {
	if (size > pack->in.left)
		return record_fault(pack, "it is too short: %zu bytes are wanted, %u are left", size, pack->in.left);
	pack->in.left -= (uint32_t)size;
	int found = size ? take(pack, data, size) : 1;
	if (found == 0)
		fault(pack->why, 0, "the records to pack end in the middle of one: whoever sends them has stopped");
	return found == 1 ? 0 : -1;
}

int record_done(struct pack *pack) {
	return pack->in.left ? record_fault(pack, "it is %u bytes too long", pack->in.left) : 0;
}
