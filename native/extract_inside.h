// SPDX-License-Identifier: Apache-2.0
// What the files of the extraction share. One walker makes the tree (directories, links, special files) and gives regular files to workers, which
// make and fill them; a directory gets its mode and times when the last of its files is done.
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "extract.h"
#include "image.h"
#include "known.h"

// Deeper than this no tool can name a file (PATH_MAX is 4096); it bounds the walker's stack and descriptors.
#define MAX_DEPTH 1000u

// A directory being filled. The descriptor lives until the walker and all jobs have left it; the rest until the end, for paths.
struct place {
	struct place *parent, *all;      // all: list of every place, to free them
	uint64_t ref;
	int fd;                          // -1 when left
	unsigned depth;
	int late;                        // its mode would lock us out: set at the very end
	atomic_uint users;
	char name[];
};

// A large file that several workers fill, piece by piece.
struct big_file { int fd; atomic_uint pieces; };

struct job {
	struct job *next;
	struct place *place;
	struct big_file *big;            // NULL: the whole file by one worker
	uint64_t ref, offset, size;      // of the piece
	int exists;                      // a hard-linked file that the walker has made already
	char name[];
};

// The first name of an inode that has several.
struct first_name { struct place *place; char name[]; };

struct extraction {
	struct image *image;
	const struct extract_options *options;
	struct extract_report *report;   // under lock
	struct fault *why;               // the first failure, under lock
	atomic_bool failed;
	atomic_uint_fast64_t bytes_done;
	uint64_t bytes_total;
	struct place *places;
	struct known_table seen;         // inodes met before: a first_name, or nothing for directories, of which none may be met twice
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job *first, *last;
	unsigned queued, queue_limit;
	int closed;                      // no job will come any more
	unsigned working;                // threads
	int64_t shown_ns;                // when progress was last shown
};

// extract.c: notes the first failure of all and stops everybody; -1. The path is place/name (name may be NULL).
__attribute__((format(printf, 6, 7)))
int extract_fail(struct extraction *run, int error, const struct place *place, const char *name, uint64_t bytes, const char *format, ...);

// extract.c: hands a job to the workers; waits while too many are queued
void give_job(struct extraction *run, struct job *job);
void show_progress(struct extraction *run);

// extract_tree.c: walks the image below the descriptor root. 0 or -1
int walk_image(struct extraction *run, struct image_reader *reader, int root);
void place_leave(struct extraction *run, struct image_reader *reader, struct place *place);
// After all workers ended: directories whose modes had to wait.
int finish_late(struct extraction *run, struct image_reader *reader);
void free_places(struct extraction *run);
// A descriptor (O_PATH) of a directory that was left.
int reopen_place(const struct place *place);

// extract_meta.c: owner, attributes, mode and times of an open file or directory, or of place/name (a link or special file). 0 or -1
int finish_fd(struct extraction *run, struct image_reader *reader, int fd, uint64_t ref, const struct place *place, const char *name);
int finish_name(struct extraction *run, struct image_reader *reader, const struct image_node *node, const struct place *place, const char *name);

// extract_file.c: does one job (regular file, or a piece of one)
int do_job(struct extraction *run, struct image_reader *reader, struct job *job);

// extract_measure.c: known_note for the reference of an inode
struct known *note_inode(struct known_table *table, uint64_t ref, int *before);
