// SPDX-License-Identifier: Apache-2.0
// Frames and facts between launcher and planner (docs/plan.md).
#include "wire.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void reserve(struct buffer *buffer, size_t more)
{
	if (buffer->capacity - buffer->size >= more)
		return;
	size_t wanted = buffer->capacity ? buffer->capacity : 4096;
	while (wanted - buffer->size < more) {
		if (wanted > SIZE_MAX / 2)
			die(ENOMEM, "a message of %zu bytes", more);
		wanted *= 2;
	}
	char *data = realloc(buffer->data, wanted);
	if (!data)
		die(ENOMEM, "a message of %zu bytes", wanted);
	buffer->data = data;
	buffer->capacity = wanted;
}

void buffer_add(struct buffer *buffer, const void *data, size_t size)
{
	if (!size)
		return;
	reserve(buffer, size);
	memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}

static void add_u32(struct buffer *buffer, size_t value)
{
	if (value > UINT32_MAX)
		die(EMSGSIZE, "a fact of %zu bytes", value);
	uint32_t little = htole32((uint32_t)value);
	buffer_add(buffer, &little, sizeof little);
}

void facts_add(struct buffer *facts, const char *key, const void *value, size_t size)
{
	size_t key_size = strlen(key);
	add_u32(facts, key_size);
	buffer_add(facts, key, key_size);
	add_u32(facts, size);
	buffer_add(facts, value, size);
}

void facts_addf(struct buffer *facts, const char *key, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	int size = vasprintf(&text, format, args);
	va_end(args);
	if (size < 0)
		die(ENOMEM, "the fact %s", key);
	facts_add(facts, key, text, (size_t)size);
	free(text);
}

// One length-prefixed run of bytes; 0, or -1 when it reaches past the end.
static int next_run(const char *data, size_t size, size_t *at, const char **run, size_t *run_size)
{
	uint32_t little;
	if (size - *at < sizeof little)
		return -1;
	memcpy(&little, data + *at, sizeof little);
	size_t length = le32toh(little);
	if (size - *at - sizeof little < length)
		return -1;
	*run = data + *at + sizeof little;
	*run_size = length;
	*at += sizeof little + length;
	return 0;
}

int facts_next(const void *data, size_t size, size_t *at, struct fact *out)
{
	if (*at >= size)
		return *at == size ? 0 : -1;
	if (next_run(data, size, at, &out->key, &out->key_size) || next_run(data, size, at, &out->value, &out->value_size))
		return -1;
	return 1;
}

// Sends without ever raising SIGPIPE where fd is a socket: its disposition belongs to the command and may not be changed.
static ssize_t put(int fd, const void *data, size_t size)
{
	ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
	return done < 0 && errno == ENOTSOCK ? write(fd, data, size) : done;
}

// All of it, with short and interrupted transfers handled.
static int put_all(int fd, const void *data, size_t size, ssize_t (*put_some)(int, const void *, size_t))
{
	for (size_t at = 0; at < size;) {
		ssize_t done = put_some(fd, (const char *)data + at, size - at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		at += (size_t)done;
	}
	return 0;
}

int frame_write(int fd, const struct buffer *body, struct fault *why)
{
	if (body->size > WIRE_MAX_FRAME)
		return fault(why, EMSGSIZE, "send a message of %zu bytes (at most %u)", body->size, WIRE_MAX_FRAME);
	uint32_t little = htole32((uint32_t)body->size);
	if (put_all(fd, &little, sizeof little, put) || put_all(fd, body->data, body->size, put))
		return fault(why, errno, "send a message of %zu bytes", body->size);
	return 0;
}

int frame_read(int fd, struct buffer *body, struct fault *why)
{
	uint32_t little;
	char *head = (char *)&little;
	for (size_t at = 0; at < sizeof little;) {
		ssize_t done = read(fd, head + at, sizeof little - at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fault(why, errno, "read a message");
		if (done == 0)
			return at ? fault(why, EIO, "read a message: it ends early") : fault(why, 0, "closed");
		at += (size_t)done;
	}
	size_t size = le32toh(little);
	if (size > WIRE_MAX_FRAME)
		return fault(why, EMSGSIZE, "read a message of %zu bytes (at most %u)", size, WIRE_MAX_FRAME);
	char *data = malloc(size + 1);
	if (!data)
		return fault(why, ENOMEM, "read a message of %zu bytes", size);
	if (read_exactly(fd, data, size, -1)) {
		int error = errno;
		free(data);
		return fault(why, error, "read a message of %zu bytes: it ends early", size);
	}
	data[size] = 0;
	*body = (struct buffer){ data, size, size + 1 };
	return 0;
}

int read_exactly(int fd, void *data, size_t size, int64_t offset)
{
	for (size_t at = 0; at < size;) {
		char *to = (char *)data + at;
		ssize_t done = offset < 0 ? read(fd, to, size - at) : pread(fd, to, size - at, offset + (int64_t)at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			if (done == 0)
				errno = EIO;
			return -1;
		}
		at += (size_t)done;
	}
	return 0;
}

int write_exactly(int fd, const void *data, size_t size)
{
	return put_all(fd, data, size, write);
}
