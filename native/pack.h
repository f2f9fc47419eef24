// SPDX-License-Identifier: Apache-2.0
// Writes a squashfs 4.0 image of a stream of records (docs/plan.md, role pack): contents first, the tree last. Whoever sends the records decides
// everything; the same records give the same bytes, whatever the number of threads.
#pragma once
#include <stdint.h>
#include "fault.h"

enum { PACK_MAX_THREADS = 64 };

struct pack_options {
	const char *compressor;          // "gzip", "lzma", "xz", "lz4" or "zstd"
	int level;                       // -1: the compressor's default
	int lz4_hc;
	uint32_t block_size, time;
	unsigned threads;                // that compress; 1 to PACK_MAX_THREADS
	int raw_data, raw_inodes, raw_fragments, raw_xattrs;   // stored as they are
	int no_fragments, no_duplicates;
};

struct pack_result { uint64_t size, bytes_used; uint32_t inodes; };

// Reads records from `input` until their end and writes the image into `target`, an open file, from its start. 0, or -1 with why.
int pack_image(int input, int target, const struct pack_options *options, struct pack_result *result, struct fault *why);
