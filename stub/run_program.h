// SPDX-License-Identifier: Apache-2.0
// One program of the host, run for the planner, which runs nothing itself (docs/plan.md, `run`).
#pragma once
#include <stddef.h>
#include <sys/types.h>
#include "wire.h"

struct program {
	char **argv;            // a name without a slash is looked up in the system's own directories, whatever PATH says
	unsigned timeout_ms;
	size_t max_bytes;       // of its stdout
};

// One that runs: its answer comes through result. child -1: none.
struct running { pid_t child; int result, error; };
#define RUNNING_NONE { .child = -1, .result = -1 }

// Starts it; program and its argv are needed only until then. What cannot be started is told by program_finish.
void program_start(const struct program *program, struct running *running);

// Waits for its end and appends the answer, as run_program does.
void program_finish(struct running *running, struct buffer *answer);

// Ends one that nobody wants to hear of any more, with all of its process group.
void program_cancel(struct running *running);

// Appends how it ended and its stdout, as docs/plan.md has it. It takes at most the time limit and a little more, whatever the program does;
// the program and all of its process group are gone afterwards, or no longer ours when the kernel will not let them end.
void run_program(const struct program *program, struct buffer *answer);
