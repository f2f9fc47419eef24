// SPDX-License-Identifier: Apache-2.0
// The runtime section made available as a directory that programs can be executed from (DESIGN 6).
#pragma once
#include <sys/types.h>
#include <time.h>
#include "bundle.h"
#include "dirs.h"

// Which unpacked directory it was: another one under the same name differs in one of these.
struct identity { dev_t device; ino_t inode; struct timespec changed; };

struct runtime {
	char cache[4096];       // the directory of ours that holds it; "" when mounted or in memory
	char dir[4096];         // where `runtime`, `ld.so` and `lib/` are; for mounted and memory filled by runtime_enter
	const char *from;       // "warm", "unpacked", or "namespace": runtime_enter must be called first by the process that will exec it
	struct identity identity; // of dir, when it is in a cache
	int server;             // namespace: socket of the file server, or -1
};

// Finds it unpacked, or unpacks it into the first directory that passes, or prepares a private namespace. damaged: the one that could not be executed
// though it is complete by its list, or NULL.
// 0, or -1 with every candidate's reason.
int runtime_get(const struct bundle *bundle, struct runtime *runtime, const struct identity *damaged, struct fault *why);
// Whether the directory that runtime_get named is there no more, not with all its files, or replaced by another.
int runtime_is_gone(const struct bundle *bundle, const struct runtime *runtime);
// In the process that will exec the runtime: enters a user and mount namespace and mounts it there. Sets dir and from ("mounted" or "memory"). 0 or -1.
int runtime_enter(const struct bundle *bundle, struct runtime *runtime, struct fault *why);
// Closes our end of the server's socket.
void runtime_release(struct runtime *runtime);

// cache_dir.c: a candidate directory that holds runtimes.

// "runtime-" and the first 32 hex digits of the section's digest.
void name_runtime(const struct section *section, char name[48]);
// Whether directory `name` below the directory `cache` is complete: its own list, every file's size, mode and owner. O_PATH descriptor or -1.
// identity: filled, or NULL.
int open_complete(int cache, const char *name, struct identity *identity);
int is_same_runtime(const struct identity *one, const struct identity *other);
// Whether it is complete, and not the one that is known to be damaged (NULL: none is).
int is_usable(int cache, const char *name, const struct identity *damaged);
// Unpacks the section below `cache` under `name`; one process does, the others wait. 0, or -1 with errno in why->error (ENOSPC, EDQUOT ..).
// step names what failed, for a list of candidates.
int unpack_runtime(const struct bundle *bundle, int cache, const char *name, const struct identity *damaged, struct dir_fact *fact, struct fault *why);

// file_list.c

// Writes the file `list` of everything below dir: lines `size mode name`, then `end`. 0 or -1 with errno.
int write_file_list(int dir);
// Compares dir with its list. 1: all there.
int check_file_list(int dir);

// sweep.c

// Removes `name` below `cache` with everything in it. Best effort.
void remove_below(int cache, const char *name);
// Moves it to a tmp- name first, so that nobody finds half of it.
void retire_below(int cache, const char *name);
// Removes runtimes not used for 30 days, and what unpackings that died left. trust_locks: nobody else can be unpacking now.
void sweep_cache(int cache, const char *keep, int trust_locks);
// Removes every runtime and every dead unpacking of ours; adds a line for each to `removed`.
void clear_cache(const char *path, struct buffer *removed);
