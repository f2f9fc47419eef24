// SPDX-License-Identifier: Apache-2.0
#include "decompress.h"

#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <sqfs/error.h>
#include <sqfs/super.h>

#include "lzo.h"

// An xz dictionary may be larger than the block; more than this is no image of a known tool.
#define XZ_MEMORY_BYTES (256ull << 20)
// A .lzma file begins with 5 bytes of properties and the size, 8 bytes.
#define LZMA_PROPERTIES_BYTES 5
#define LZMA_HEADER_BYTES 13

struct decompressor {
	sqfs_compressor_t base;   // first: libsquashfs sees only this
	uint16_t id;
	z_stream gzip;
	lzma_stream xz;
	ZSTD_DCtx *zstd;
};

const char *decompressor_name(uint16_t id) {
	static const char *const name[] = { NULL, "gzip", "lzma", "lzo", "xz", "lz4", "zstd" };
	return id < sizeof name / sizeof *name ? name[id] : NULL;
}

static sqfs_s32 decode_gzip(struct decompressor *self, const uint8_t *in, uint32_t size, uint8_t *out, uint32_t room) {
	if (inflateReset(&self->gzip) != Z_OK)
		return SQFS_ERROR_COMPRESSOR;
	self->gzip.next_in = (Bytef *)(uintptr_t)in;
	self->gzip.avail_in = size;
	self->gzip.next_out = out;
	self->gzip.avail_out = room;
	if (inflate(&self->gzip, Z_FINISH) != Z_STREAM_END)
		return SQFS_ERROR_COMPRESSOR;
	return (sqfs_s32)(room - self->gzip.avail_out);
}

// A block is a whole .xz file; its header names the filters (x86 and the like).
static sqfs_s32 decode_xz(struct decompressor *self, const uint8_t *in, uint32_t size, uint8_t *out, uint32_t room) {
	if (lzma_stream_decoder(&self->xz, XZ_MEMORY_BYTES, 0) != LZMA_OK)
		return SQFS_ERROR_COMPRESSOR;
	self->xz.next_in = in;
	self->xz.avail_in = size;
	self->xz.next_out = out;
	self->xz.avail_out = room;
	if (lzma_code(&self->xz, LZMA_FINISH) != LZMA_STREAM_END)
		return SQFS_ERROR_COMPRESSOR;
	return (sqfs_s32)(room - self->xz.avail_out);
}

// A block is a whole .lzma file. Its header gives the size, and some writers end the data with a mark as well, which decoders of liblzma
// before 5.2.6 refuse together with a size: so the decoder is told that the size is unknown, and we count.
static sqfs_s32 decode_lzma(struct decompressor *self, const uint8_t *in, uint32_t size, uint8_t *out, uint32_t room) {
	uint8_t header[LZMA_HEADER_BYTES];
	if (size < LZMA_HEADER_BYTES)
		return SQFS_ERROR_COMPRESSOR;
	uint64_t expected = 0;
	for (int i = LZMA_HEADER_BYTES - 1; i >= LZMA_PROPERTIES_BYTES; i--)
		expected = expected << 8 | in[i];
	if (expected > room || lzma_alone_decoder(&self->xz, XZ_MEMORY_BYTES) != LZMA_OK)
		return SQFS_ERROR_COMPRESSOR;
	memcpy(header, in, LZMA_PROPERTIES_BYTES);
	memset(header + LZMA_PROPERTIES_BYTES, 0xff, LZMA_HEADER_BYTES - LZMA_PROPERTIES_BYTES);
	self->xz.next_in = header;
	self->xz.avail_in = sizeof header;
	self->xz.next_out = out;
	self->xz.avail_out = (size_t)expected;
	lzma_ret status = lzma_code(&self->xz, LZMA_RUN);
	if (status == LZMA_OK) {
		self->xz.next_in = in + LZMA_HEADER_BYTES;
		self->xz.avail_in = size - LZMA_HEADER_BYTES;
		status = lzma_code(&self->xz, LZMA_RUN);
	}
	if ((status != LZMA_OK && status != LZMA_STREAM_END) || self->xz.avail_out)
		return SQFS_ERROR_COMPRESSOR;
	return (sqfs_s32)expected;
}

static sqfs_s32 decode(sqfs_compressor_t *base, const sqfs_u8 *in, sqfs_u32 size, sqfs_u8 *out, sqfs_u32 room) {
	struct decompressor *self = (struct decompressor *)base;
	switch (self->id) {
	case SQFS_COMP_GZIP:
		return decode_gzip(self, in, size, out, room);
	case SQFS_COMP_XZ:
		return decode_xz(self, in, size, out, room);
	case SQFS_COMP_LZMA:
		return decode_lzma(self, in, size, out, room);
	case SQFS_COMP_LZO: {
		ssize_t done = lzo1x_decode(in, size, out, room);
		return done < 0 ? SQFS_ERROR_COMPRESSOR : (sqfs_s32)done;
	}
	case SQFS_COMP_LZ4: {
		int done = LZ4_decompress_safe((const char *)in, (char *)out, (int)size, (int)room);
		return done < 0 ? SQFS_ERROR_COMPRESSOR : done;
	}
	case SQFS_COMP_ZSTD: {
		size_t done = ZSTD_decompressDCtx(self->zstd, out, room, in, size);
		return ZSTD_isError(done) ? SQFS_ERROR_COMPRESSOR : (sqfs_s32)done;
	}
	default:
		return SQFS_ERROR_UNSUPPORTED;
	}
}

static void destroy(sqfs_object_t *base) {
	struct decompressor *self = (struct decompressor *)base;
	if (self->id == SQFS_COMP_GZIP)
		inflateEnd(&self->gzip);
	lzma_end(&self->xz);
	ZSTD_freeDCtx(self->zstd);
	free(self);
}

sqfs_compressor_t *decompressor_new(uint16_t id) {
	if (!decompressor_name(id))
		return NULL;
	struct decompressor *self = calloc(1, sizeof *self);
	if (!self)
		return NULL;
	self->id = id;
	self->xz = (lzma_stream)LZMA_STREAM_INIT;
	self->base.base.destroy = destroy;
	self->base.do_block = decode;
	if ((id == SQFS_COMP_GZIP && inflateInit(&self->gzip) != Z_OK)
			|| (id == SQFS_COMP_ZSTD && !(self->zstd = ZSTD_createDCtx()))) {
		free(self);
		return NULL;
	}
	return &self->base;
}
