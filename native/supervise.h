// SPDX-License-Identifier: Apache-2.0
// Standing in for a command that cannot be the process the user started, because it is to be in a process namespace of its own.
//
// The visible process becomes the supervisor, its child goes on. What the supervisor promises:
//   - it ends as the command does: with its exit status, or of the signal that the command died of, and not before the child is gone;
//   - a signal sent to the visible process reaches the command once, also when it was sent to the whole process group (Ctrl-C, scancel), which the
//     child stays in. Only without an init, and only for kill(2) of the group, may a command with a handler see it twice;
//   - process 1 of a namespace is deaf to signals it has no handler for (pid_namespaces(7)): the supervisor then does to it what the signal would
//     have done, so that Ctrl-C, SIGTERM and Ctrl-Z work as for any command;
//   - it stops when the command stops, by the same signal, and continues it, so that Ctrl-Z, bg and fg work; SIGSTOP to it alone stops it alone;
//   - a terminal that a job-control shell inside had taken is handed back;
//   - it holds no descriptor of the caller's, shows neither arguments nor environment in /proc, and is in no one's way: its working directory is "/";
//   - when it is killed, the child is killed (PR_SET_PDEATHSIG) and an init hears of it (the line's end).
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "fault.h"

struct supervise_orders {
	bool init;                    // an init will answer on the line (supervise_init)
	int term_signal;              // what SIGTERM reaches the command as (an image's StopSignal); 0: as SIGTERM
	int parent_death_signal;      // the caller's (PR_SET_PDEATHSIG), which a new user namespace clears; 0: none
	pid_t parent;                 // from whose death it comes
	void (*finish)(void *arg);    // called in the supervisor once the child is under way; may be NULL
	void *arg;
};

// Forks. In the child returns 0 with *line open (a close-on-exec socket to the supervisor), signals as they were, and SIGKILL as parent death signal;
// -1 when there could be no child. The supervisor never returns: it ends as the child does.
int supervise_fork(const struct supervise_orders *orders, int *line, struct fault *why);

// Forks the command's process off an init. In the new process returns 0 with signals as they were; -1 when it could not be made. The init never
// returns: it reaps whatever is orphaned, passes signals on that the supervisor tells it about, tells how the command ends, and ends then; when the
// supervisor is gone it ends at once. As process 1 its end is that of everything in its namespace.
int supervise_init(int line, struct fault *why);

// Whether the supervisor is still there; for a child whose parent death signal may have been lost on the way.
bool supervise_lives(int line);
