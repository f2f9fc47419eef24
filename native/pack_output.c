// SPDX-License-Identifier: Apache-2.0
// The file that is written, and memory that grows.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqfs/error.h>

#include "pack_inside.h"

static int write_at(sqfs_file_t *file, sqfs_u64 at, const void *data, size_t size) {
	struct pack_output *out = (struct pack_output *)file;
	const uint8_t *from = data;
	while (size) {
		ssize_t done = pwrite(out->fd, from, size, (off_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			out->error = done ? errno : EIO;
			return SQFS_ERROR_IO;
		}
		from += done;
		size -= (size_t)done;
		at += (uint64_t)done;
	}
	if (at > out->size)
		out->size = at;
	return 0;
}

static int read_at(sqfs_file_t *file, sqfs_u64 at, void *data, size_t size) {
	(void)file, (void)at, (void)data, (void)size;
	return SQFS_ERROR_UNSUPPORTED;
}

static sqfs_u64 get_size(const sqfs_file_t *file) {
	return ((const struct pack_output *)file)->size;
}

static int set_size(sqfs_file_t *file, sqfs_u64 size) {
	((struct pack_output *)file)->size = size;
	return 0;
}

static void leave_alone(sqfs_object_t *object) {
	(void)object;
}

void output_init(struct pack_output *out, int fd) {
	*out = (struct pack_output){ .fd = fd };
	out->file.base.destroy = leave_alone;
	out->file.read_at = read_at;
	out->file.write_at = write_at;
	out->file.get_size = get_size;
	out->file.truncate = set_size;
}

int output_append(struct pack *pack, const void *data, size_t size) {
	int error = write_at(&pack->out.file, pack->out.size, data, size);
	return error ? output_fault(pack, error, "the data") : 0;
}

int output_fault(struct pack *pack, int sqfs_error, const char *what) {
	if (pack->out.error)
		return fault(pack->why, pack->out.error, "write the image");
	if (sqfs_error == SQFS_ERROR_ALLOC)
		return fault(pack->why, ENOMEM, "write the image: %s", what);
	return fault(pack->why, 0, "write the image: %s: libsquashfs fails with error %d", what, sqfs_error);
}

void *array_add(struct pack *pack, struct array *array, size_t unit, size_t count) {
	if (array->room - array->count < count) {
		size_t room = array->room ? array->room : 64;
		while (room - array->count < count)
			room *= 2;
		void *item = reallocarray(array->item, room, unit);
		if (!item) {
			fault(pack->why, ENOMEM, "write the image");
			return NULL;
		}
		array->item = item;
		array->room = room;
	}
	array->count += count;
	return (char *)array->item + (array->count - count) * unit;
}
