// SPDX-License-Identifier: Apache-2.0
// One program of the host, run for the planner, which runs nothing itself (docs/plan.md, `run`).
#pragma once
#include <stddef.h>
#include "wire.h"

struct program {
	char **argv;            // a name without a slash is looked up in the system's own directories, whatever PATH says
	unsigned timeout_ms;
	size_t max_bytes;       // of its stdout
};

// Appends how it ended and its stdout, as docs/plan.md has it. It takes at most the time limit and a little more, whatever the program does;
// the program and all of its process group are gone afterwards, or no longer ours when the kernel will not let them end.
void run_program(const struct program *program, struct buffer *answer);
