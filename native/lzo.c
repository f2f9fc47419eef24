// SPDX-License-Identifier: Apache-2.0
// LZO1X: a stream of instructions, each a copy from what was put before (a match) and up to three literals, or a run of literals. What an opcode
// below 16 means depends on the number of literals that preceded it ("state": 0 to 3, or 4 after a run).
#include "lzo.h"

#include <string.h>

struct stream {
	const uint8_t *in, *in_end;
	uint8_t *start, *out, *out_end;
};

// A length too long for its opcode: each zero byte adds 255, and the first other byte its value.
static int read_length(struct stream *s, size_t base, size_t *length) {
	size_t total = base;
	for (;;) {
		if (s->in == s->in_end)
			return -1;
		uint8_t byte = *s->in++;
		if (byte) {
			*length = total + byte;
			return 0;
		}
		// The input's size bounds this sum.
		total += 255;
	}
}

static int copy_literals(struct stream *s, size_t count) {
	if (count > (size_t)(s->in_end - s->in) || count > (size_t)(s->out_end - s->out))
		return -1;
	memcpy(s->out, s->in, count);
	s->in += count;
	s->out += count;
	return 0;
}

static int copy_match(struct stream *s, size_t distance, size_t length) {
	if (distance > (size_t)(s->out - s->start) || length > (size_t)(s->out_end - s->out))
		return -1;
	const uint8_t *from = s->out - distance;
	// An overlapping match repeats what it has just put.
	while (length > distance) {
		memcpy(s->out, from, distance);
		s->out += distance;
		length -= distance;
		if (distance <= SIZE_MAX / 2)
			distance *= 2;
	}
	memcpy(s->out, from, length);
	s->out += length;
	return 0;
}

// Two bytes, little-endian: a distance in the upper 14 bits, the count of literals that follow in the lower two.
static int read_pair(struct stream *s, unsigned *pair) {
	if (s->in_end - s->in < 2)
		return -1;
	*pair = s->in[0] | (unsigned)s->in[1] << 8;
	s->in += 2;
	return 0;
}

// Obeys one opcode. 0: go on; 1: the end mark; -1: damage.
static int step(struct stream *s, unsigned *state) {
	unsigned pair, op = *s->in++;
	size_t distance, length;
	if (op >= 64 || (op < 16 && *state)) {
		if (s->in == s->in_end)
			return -1;
		unsigned high = *s->in++;
		pair = op;
		if (op >= 64) {
			distance = ((size_t)high << 3) + ((op >> 2) & 7) + 1;
			length = op >= 128 ? 5 + ((op >> 5) & 3) : 3 + ((op >> 5) & 1);
		} else {
			distance = ((size_t)high << 2) + (op >> 2) + (*state == 4 ? 2049 : 1);
			length = *state == 4 ? 3 : 2;
		}
	} else if (op < 16) {
		length = op + 3;
		if (!op && read_length(s, 18, &length))
			return -1;
		*state = 4;
		return copy_literals(s, length);
	} else if (op >= 32) {
		length = (op & 31) + 2;
		if (!(op & 31) && read_length(s, 33, &length))
			return -1;
		if (read_pair(s, &pair))
			return -1;
		distance = (pair >> 2) + 1;
	} else {
		length = (op & 7) + 2;
		if (!(op & 7) && read_length(s, 9, &length))
			return -1;
		if (read_pair(s, &pair))
			return -1;
		distance = 16384 + ((size_t)(op & 8) << 11) + (pair >> 2);
		if (distance == 16384)
			return 1;
	}
	if (copy_match(s, distance, length))
		return -1;
	*state = pair & 3;
	return copy_literals(s, *state);
}

ssize_t lzo1x_decode(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size) {
	struct stream s = { in, in + in_size, out, out, out + out_size };
	unsigned state = 0;
	if (in_size && in[0] > 17) {
		// The first byte may be a run of literals.
		size_t count = *s.in++ - 17u;
		if (copy_literals(&s, count))
			return -1;
		state = count < 4 ? (unsigned)count : 4;
	}
	while (s.in < s.in_end) {
		int end = step(&s, &state);
		if (end)
			return end < 0 ? -1 : s.out - s.start;
	}
	return -1;
}
