// SPDX-License-Identifier: Apache-2.0
// What this kernel and this user allow, found by trying (docs/plan.md, the table of probes).
#pragma once
#include <sys/types.h>
#include "wire.h"

struct probes { pid_t child; int results; };

// Starts the child that tries; it changes nothing outside of itself and its namespaces. 0 or -1.
int probes_start(struct probes *probes, struct fault *why);
// Waits for it and adds a fact `probe.NAME` for every probe.
void probes_finish(struct probes *probes, struct buffer *facts);

// Mounts an overlay in the working directory (writable, empty), removes a directory of the lower one and makes it again. NULL, or the step that
// failed with errno set. In a user and mount namespace of our own.
const char *probe_overlay(void);
// The others, in the same place.
const char *probe_fuse(void);
const char *probe_tmpfs_xattr(void);

// The answer to the planner's question `rungs` (docs/plan.md): a line for each thing that was tried.
void tell_rungs(struct buffer *out);
