// SPDX-License-Identifier: Apache-2.0
// A writable layer on disk: the upper and work directories of an overlay, either in a nest of ours that is gone after the run, or in a directory
// that the user named (--overlay), which stays and is used again. A background process keeps its lock until the container's last process is gone:
// a descriptor with the lock in the command itself would be seen by it, and be lost when it closes all.
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "fault.h"

struct layer_request {
	const char *place;     // directory of ours in which a nest is made; "" with dir
	const char *dir;       // the user's directory, or ""
	const char *digest;    // of the image below it
	const char *owners;    // whose ids its files have; a directory written under other ids is refused
};

struct layer {
	int control;           // to the keeper, until watch_hand_over; -1: none
	char *path;            // holds `upper` and `work`, in the caller's view of the host; NULL: no layer on disk
	const char *shown;     // for messages
	bool fresh;            // nothing was written to it yet
	dev_t dev;
	ino_t ino;
};
#define LAYER_NONE {.control = -1}

// Makes or takes the directories and has them locked. Call before any namespace is created. 0 or -1.
int layer_start(struct layer *layer, const struct layer_request *request, struct fault *why);

// O_PATH descriptors of both directories, in the mount namespace of now. 0 or -1.
int layer_open(const struct layer *layer, int *upper, int *work, struct fault *why);

// Says that no overlay can be had there: on which file system (of the open directory dir), and what else there is. shown: the layer's name. Returns -1.
int layer_fault(const char *shown, int dir, int error, struct fault *why);

// The keeper's side (layer_keeper.c): forks it. Its socket (CLOEXEC), or -1. DONE: why.text is the nest's name, or "fresh" or "used" for a
// directory of the user's. As long as no WATCH note was sent, the end of file on the socket means that a fresh layer is not wanted any more.
int layer_keeper_start(const struct layer_request *request, struct fault *why);

// The user's directory (layer_dir.c).
struct layer_dir { int parent, dir, mark; bool made, fresh; char name[256]; };
#define LAYER_DIR_NONE {.parent = -1, .dir = -1, .mark = -1}

// Opens it, makes it when missing, and takes its lock. Refused: what is not ours, another image's, in use, or on a file system without user xattrs. 0 or -1.
int layer_dir_take(struct layer_dir *dir, const struct layer_request *request, struct fault *why);
// Removes a fresh one, as far as it was made here.
void layer_dir_remove(struct layer_dir *dir);
