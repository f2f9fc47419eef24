// SPDX-License-Identifier: Apache-2.0
// What the files of the image writer share.
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <sqfs/compressor.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>
#include <sqfs/super.h>

#include "known.h"
#include "pack.h"
#include "sha256.h"

#define NO_FRAGMENT UINT32_MAX
#define NO_CONTENT UINT32_MAX
#define NO_SET UINT32_MAX
#define STORED_AS_IS (1u << 24)      // in the word of a block: it is not compressed
#define HOLE_RUN (1u << 31)          // in a content's words, never on disk: that many blocks of zeros
#define MAX_BLOCKS (1u << 27)        // of a file: 16 TiB in blocks of 128 KiB
#define MAX_INODES (1u << 27)

// Records as they come; the rest of a record is read as it is wanted.
struct pack_input {
	int fd;
	uint8_t *buffer;
	size_t at, end;
	uint32_t left;                   // bytes of the record that were not taken
	uint64_t number;                 // of the record, from 1
};

// The file that is written, as libsquashfs wants it; `size` is where the next bytes go.
struct pack_output { sqfs_file_t file; int fd; uint64_t size; int error; };

// What libsquashfs compresses tables with: smaller, or as they are. (Its own for lz4 also gives larger ones, which unsquashfs refuses [1.2].)
struct table_compressor { sqfs_compressor_t base; sqfs_compressor_t *inner; };   // inner NULL: all as it is

// A growing array.
struct array { void *item; size_t count, room; };

// A block on its way: filled, compressed by a thread, written in the order of submission.
struct slot {
	uint8_t *raw, *packed;
	size_t size, packed_size;        // packed_size 0: stored as it is
	int keep_raw, want_digest;
	struct key digest;               // of what is stored
	uint32_t content, word;          // which word of which content it becomes; content NO_CONTENT: fragment block number `word`
	int done, failed;
};

struct pipeline {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	pthread_t thread[PACK_MAX_THREADS];
	sqfs_compressor_t *compressor[PACK_MAX_THREADS];
	unsigned started, joined_in;
	size_t slots, idle_count, block_size;
	struct slot *slot, **idle;
	struct slot **queue;             // a ring of `slots` places
	size_t written, claimed, submitted;   // ever growing; the place is the rest by `slots`
	int stopping, waiting;
};

// A file's data.
struct content {
	uint64_t start, size, sparse;
	uint32_t fragment, offset;       // of its end; NO_FRAGMENT: none
	uint32_t *word;                  // one for each block, or a HOLE_RUN
	uint32_t words, room, blocks;
	uint32_t submitted, written;     // blocks that are no holes
	int ended, taken;
};

struct fragment { uint64_t start; uint32_t word, unused; };

struct id_table { uint32_t *id; uint16_t *slot; uint32_t count; };

struct pack {
	const struct pack_options *options;
	struct fault *why;               // the first failure
	struct pack_input in;
	struct pack_output out;
	sqfs_super_t super;
	sqfs_compressor_t *compressor;
	struct table_compressor for_tables, for_xattrs;
	struct pipeline blocks;
	// data
	struct array contents;           // struct content
	struct array fragments;          // struct fragment
	struct known_table known_blocks, known_tails;   // where they are, by digest: 16 bytes of SHA-256 are as good as the bytes themselves
	struct sha256 running;           // over the blocks of the content that is being written
	struct slot *current, *tails;    // being filled
	uint64_t current_left;           // what a begun content still has to get
	int in_content;
	// tree
	int in_tree;
	sqfs_meta_writer_t *inodes, *directories;
	uint64_t *ref;                   // by inode number - 1
	uint8_t *type;                   // 0: not defined
	uint32_t ref_room, defined;
	struct array parents;            // struct { uint32_t child, parent; }
	struct id_table ids;
	struct array xattr_bytes, xattr_sets;
};

// pack_input.c: 1: a record begins, its first byte is in *op; 0: the stream ends; -1
int record_next(struct pack *pack, uint8_t *op);
int record_take(struct pack *pack, void *data, size_t size);
int record_done(struct pack *pack);   // nothing may be left of it
// A failure of the record at hand; -1.
__attribute__((format(printf, 2, 3))) int record_fault(struct pack *pack, const char *format, ...);

// pack_output.c
void output_init(struct pack_output *out, int fd);
int output_append(struct pack *pack, const void *data, size_t size);
int output_fault(struct pack *pack, int sqfs_error, const char *what);   // of a call of libsquashfs; -1
void *array_add(struct pack *pack, struct array *array, size_t unit, size_t count);   // room for that many more, uninitialized; NULL

// pack_blocks.c
int pipeline_start(struct pack *pack);
void pipeline_stop(struct pack *pack);
struct slot *pipeline_slot(struct pack *pack);               // an idle one; may write others first. NULL: failed
void pipeline_return(struct pack *pack, struct slot *slot);  // one that was not needed
int pipeline_submit(struct pack *pack, struct slot *slot);
int pipeline_drain(struct pack *pack);

// pack_data.c
int data_begin(struct pack *pack, uint64_t size);
int data_take(struct pack *pack, uint64_t size);             // from the record
int data_hole(struct pack *pack, uint64_t size);
int data_end(struct pack *pack);
int data_finish(struct pack *pack);                          // no content comes any more

// pack_place.c: where blocks and ends of files go
int block_write(struct pack *pack, struct slot *slot);
int content_complete(struct pack *pack, struct content *content);
int tail_store(struct pack *pack, struct content *content, const uint8_t *data, size_t size);
int tails_flush(struct pack *pack);

// pack_tree.c
struct inode_head {
	uint32_t number;
	uint8_t type;
	uint16_t mode;
	uint32_t uid, gid, mtime, nlink, xattrs;
} __attribute__((packed));
enum { TYPE_FILE = 1, TYPE_DIR, TYPE_SYMLINK, TYPE_CHAR, TYPE_BLOCK, TYPE_FIFO, TYPE_SOCKET };
int tree_inode(struct pack *pack);
int tree_begin(struct pack *pack);
int head_take(struct pack *pack, struct inode_head *head);
int inode_begin(struct pack *pack, const struct inode_head *head, int extended);
int inode_add(struct pack *pack, const void *data, size_t size);
uint16_t disk_type(uint8_t type);

// pack_dir.c
int tree_directory(struct pack *pack);

// pack_ids.c: the index of a user or group id, or -1
int id_index(struct pack *pack, uint32_t id);

// pack_xattr.c
int xattrs_take(struct pack *pack);
int xattrs_write(struct pack *pack);

// pack_end.c
int image_end(struct pack *pack, struct pack_result *result);
