// SPDX-License-Identifier: Apache-2.0
// What the files of the image reader share; users include image.h.
#pragma once
#include <sqfs/compressor.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_reader.h>
#include <sqfs/super.h>

#include "block_cache.h"
#include "image.h"
#include "object_cache.h"

#define NO_INDEX UINT32_MAX

struct image {
	int fd;
	uint64_t offset, size;           // the section
	sqfs_super_t super;
	sqfs_id_table_t *ids;
	struct block_cache *data, *meta; // decompressed data blocks, metadata blocks
	struct object_cache *objects;    // struct node, struct listing
};

// The file and the compressor that libsquashfs' metadata readers see. Metadata is read as header, body, do_block, so the port knows which block
// it decodes and can take it from the shared cache.
struct meta_port {
	sqfs_file_t file;
	sqfs_compressor_t compressor;
	struct image *image;
	sqfs_compressor_t *decoder;
	uint64_t at;                     // of the last read
	// the block being decoded
	const uint8_t *in;
	uint32_t in_size;
};

// Some of the addresses of a table's metadata blocks, as they are on disk. count 0: none.
struct address_window { uint64_t at; size_t count; uint64_t address[64]; };

struct image_reader {
	struct image *image;
	sqfs_compressor_t *decoder;
	struct meta_port *port;
	sqfs_meta_reader_t *inodes, *dirs, *tables;
	struct address_window addresses;
	uint8_t *input;                  // one compressed block
	char bad_name[64];               // see image_bad_name
};

struct extent { uint64_t at; uint32_t word; };   // where a block is; its size on disk and the bit for "stored as it is". word 0: a hole

// A decoded inode.
struct node {
	struct object object;            // key: the reference
	struct image_node stat;
	uint32_t xattr;                  // index or NO_INDEX
	// regular files
	size_t extents;
	struct extent fragment;          // at 0: none
	uint32_t fragment_offset;
	// directories, as libsquashfs' directory state wants it
	sqfs_readdir_state_t dir;
	// symlinks
	char *target;                    // stat.size bytes
	struct extent extent[];          // or the target's bytes
};

struct entry { uint64_t ref; uint32_t name; uint16_t size, type; };   // name: offset in the listing's names; type: an inode type of libsquashfs

// A decoded directory.
struct listing {
	struct object object;            // key: the reference with LISTING_KEY
	size_t count;
	int sorted;                      // by byte value, no two alike
	const char *names;               // behind the entries, each with a NUL
	struct entry entry[];
};

#define LISTING_KEY (1ull << 63)

// image_file.c
int image_pread(const struct image *image, uint64_t at, void *data, size_t size);   // 0 or a negative errno; EIO beyond the section
struct meta_port *meta_port_new(struct image *image, sqfs_compressor_t *decoder);
void meta_port_free(struct meta_port *port);
int errno_of_sqfs(int error);                                                       // a negative errno for a libsquashfs error
// Entry `index` of a table of fixed-size entries in metadata blocks whose addresses are listed at `start`.
int image_table_entry(struct image_reader *reader, uint64_t start, uint64_t index, void *entry, size_t size);

// image.c: after an error. libsquashfs' metadata reader keeps half of a failed block under the address of the block before [1.2].
void image_reader_reset(struct image_reader *reader);

// image_inode.c: pinned; release with node_release
int node_get(struct image_reader *reader, uint64_t ref, struct node **node);
void node_release(struct image_reader *reader, struct node *node);

// image_dir.c
int listing_get(struct image_reader *reader, uint64_t ref, struct listing **listing);
void listing_release(struct image_reader *reader, struct listing *listing);

// image_data.c: whether a span is a hole (its bytes are the shared zeros)
int image_span_is_hole(const struct image_span *span);
