// SPDX-License-Identifier: Apache-2.0
// The janitor: a detached process that has the image unpacked, keeps the lock, and removes the tree when the last process of the container is gone.
#pragma once
#include <stdbool.h>
#include "fault.h"
#include "target.h"
#include "unpack.h"

struct janitor_job {
	struct unpack_request unpack;   // its place: an absolute path of a directory of ours, made when missing; only shown when there is a target
	struct target target;      // name NULL: the tree stays in a nest below the place
	bool keep, reuse;          // do not remove the target; take one that is complete already
	int process;               // pidfd of the process that becomes the command, or -1
};

// Forks it. Returns the control socket (CLOEXEC; watch.h tells the messages), or -1. As long as no WATCH note was sent, the end of file on the socket means that the tree is not wanted any more.
int janitor_start(const struct janitor_job *job, struct fault *why);
