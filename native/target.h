// SPDX-License-Identifier: Apache-2.0
// A directory that the user named for the unpacked root filesystem (--target). Ours are marked by a file `.bundler` inside:
// "bundler 1\ndigest HEX\nkeep\n" or ".. temporary\n"; whoever uses the directory holds a shared lock on it.
#pragma once
#include <stdbool.h>
#include "fault.h"

struct target {
	int parent;            // descriptor of the directory it lies in
	const char *name;      // in parent
	const char *shown;     // for messages: as the user named it
	const char *digest;
};

enum { TARGET_ABSENT = 0, TARGET_COMPLETE = 1 };

// Looks at what is there. TARGET_COMPLETE: unpacked earlier from the same image, *mark is its mark with a shared lock. TARGET_ABSENT: nothing, or
// a temporary one that a killed run had left, which was removed. -1 with why: somebody else's, another image, or in use.
int target_inspect(const struct target *target, int *mark, struct fault *why);

// Marks a complete tree; returns the mark's descriptor with a shared lock, or -1.
int target_mark(int root, const char *digest, bool keep, struct fault *why);

// Removes a target in such a way that a half removed one never has the final name. 0 or -1.
int target_remove(const struct target *target, struct fault *why);

// The prefix of nests beside the target: "NAME.partial-". Returns 0, or -1 when it is too long.
int target_prefix(const struct target *target, char *prefix, unsigned size, struct fault *why);
