// SPDX-License-Identifier: Apache-2.0
// The planner: Node as a child behind two descriptors (docs/plan.md).
#pragma once
#include <sys/types.h>
#include "bundle.h"
#include "plan.h"
#include "runtime.h"
#include "spawn.h"

struct planner {
	pid_t pid;              // -1: not this process's child
	int request, reply;     // our ends: a socket (so that a planner gone raises no SIGPIPE) and a pipe
	int errors;             // memfd with what a crash prints
	struct sigchld_state sigchld;
};

// Starts it. In a namespace when the runtime is there; then runtime->from and dir are filled when this returns. 0 or -1.
int planner_start(const struct bundle *bundle, struct runtime *runtime, struct planner *planner, struct fault *why);
// Kills it if it still runs; planner_end then finds it dead, or nearly so: taking its memory apart takes milliseconds.
void planner_dismiss(const struct planner *planner);
// Kills it if it still runs, and reaps it. Its wait status, or -1 when unknown.
int planner_end(struct planner *planner);
// The same for one that is ending by itself: it is given two seconds to do so.
int planner_reap(struct planner *planner);
// Whether a wait status looks like a runtime that could not be executed as it should: damaged or vanished files.
int planner_could_not_run(int status);
// Prints how it died and what it printed. For a planner that ended without a reply.
void planner_explain(struct planner *planner, int status);

// Adds the facts of the request, all but the probes.
// carrier: the file that was executed, whose runtime plans.
void request_facts(const struct bundle *bundle, const struct bundle *carrier, const struct runtime *runtime, char **argv, struct buffer *facts);

// Answers the questions of an `ask` reply (its body after the kind byte) into facts. 0 or -1.
int answer_questions(const char *body, size_t size, struct buffer *facts, struct fault *why);
