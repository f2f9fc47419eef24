// SPDX-License-Identifier: Apache-2.0
// The plan's `mount` operation: fstab(5) semantics, inside a root that is not trusted.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fault.h"
#include "plan.h"

struct mount_request {
	const char *source, *target, *type, *data;
	unsigned long flags, propagation;
	unsigned options;      // MOUNT_* of plan.h
	int source_fd;         // see mount_open_source; -1: none
	bool cloned;           // source_fd is a copy of the whole tree of mounts, not attached yet
	int source_error;      // why it could not be opened; 0: it was, or there was nothing to open
};

// Reads the operation's fields.
struct mount_request mount_request_of(const struct plan_op *op);

// Opens the source of a bind or move on the host, before anything there is covered; relative paths start at the working directory.
// Failures are kept in the request: they count when the mount's turn comes.
void mount_open_source(struct mount_request *request);

// For a recursive bind whose source has our own root somewhere below it by the time of the mount: takes the copy now.
void mount_clone_source(struct mount_request *request);

// Carries it out inside root (O_PATH). 0 or -1; the caller knows about nofail and silent.
int mount_obey(const struct mount_request *request, int root, struct fault *why);

// Adds restrictions (MS_RDONLY NOSUID NODEV NOEXEC ..) to the mount behind an O_PATH descriptor of its root, keeping those it has. name: for messages.
int mount_restrict(int fd, unsigned long flags, const char *name, struct fault *why);
