// SPDX-License-Identifier: Apache-2.0
// Decoders of the six compressors of squashfs as libsquashfs compressor objects. libsquashfs' own are not used: they link every encoder
// (570 KB of launcher), make a new zstd context for each block, and know no lzo.
#pragma once
#include <stdint.h>
#include <sqfs/compressor.h>

// The compressor's name for an id of the superblock, or NULL.
const char *decompressor_name(uint16_t id);
// An object that only decodes (do_block, destroy). For one thread at a time. NULL: unknown id or out of memory.
sqfs_compressor_t *decompressor_new(uint16_t id);
