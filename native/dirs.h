// SPDX-License-Identifier: Apache-2.0
// Directories of ours on the host: where the runtime is unpacked and where an image is extracted (DESIGN 6).
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "fault.h"

#define DIRS_MAX 8

// A candidate such as ~/.cache/bundler or /var/tmp/bundler-UID, best first: $BUNDLER_CACHE_DIR (alone when set), local XDG_CACHE_HOME or ~/.cache,
// /var/tmp, /tmp, $XDG_RUNTIME_DIR, then those of them on network file systems.
struct dirs { char path[DIRS_MAX][4096]; size_t count; };
void dirs_candidates(struct dirs *dirs);

struct dir_fact {
	int error;              // 0: usable
	const char *step;       // the step that failed: "create" "owner" "mode" "symlink" "space" "quota" "write" "exec"
	uint64_t free_bytes;
	char fstype[32];
	int executable;         // a file made there could be executed
	int network;            // on a network file system, where locks may not reach other hosts
};

// Tries a directory for real: makes it 0700 when missing (parents of ~/.cache too), refuses a symlink or somebody else's, writes and allocates
// need_bytes (removed again), and looks at noexec. Returns an O_PATH|O_DIRECTORY descriptor or -1; fact is filled in both cases.
int dir_probe(const char *path, uint64_t need_bytes, struct dir_fact *fact);

// The second half of it, for any open directory (O_PATH will do): free space, a real write of need_bytes, noexec. 0 or -1; nothing stays behind.
int dir_measure(int dir, uint64_t need_bytes, struct dir_fact *fact);
