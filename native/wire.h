// SPDX-License-Identifier: Apache-2.0
// Frames and facts between launcher and planner (docs/plan.md).
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "fault.h"

#define WIRE_MAX_FRAME (64u << 20)

struct buffer { char *data; size_t size, capacity; };

// Appends; dies only when memory is out.
void buffer_add(struct buffer *buffer, const void *data, size_t size);
void buffer_free(struct buffer *buffer);

void facts_add(struct buffer *facts, const char *key, const void *value, size_t size);
__attribute__((format(printf, 3, 4))) void facts_addf(struct buffer *facts, const char *key, const char *format, ...);

// Walks a facts frame. Start with *at = 0; 1: a pair was read; 0: the end; -1: malformed. key and value point into data, not NUL-terminated.
struct fact { const char *key; size_t key_size; const char *value; size_t value_size; };
int facts_next(const void *data, size_t size, size_t *at, struct fact *out);

// Whole frames, with EINTR and short transfers handled. 0, or -1 (frame_read: *data is malloc'ed; an end of file before a frame gives error 0 and "closed").
int frame_write(int fd, const struct buffer *body, struct fault *why);
int frame_read(int fd, struct buffer *body, struct fault *why);

// Reads or writes exactly size bytes (pread when offset >= 0). 0, or -1 with errno (EIO for an early end).
int read_exactly(int fd, void *data, size_t size, int64_t offset);
int write_exactly(int fd, const void *data, size_t size);
