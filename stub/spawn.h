// SPDX-License-Identifier: Apache-2.0
// Children that the process the user started must not notice: no SIGCHLD for it, none left behind.
#pragma once
#include <signal.h>
#include <sys/types.h>

// Opens "/" as an O_PATH|O_CLOEXEC placeholder on those of descriptors 0 to 2 that are closed, so that nothing we open lands there. Reading and
// writing it fails with EBADF as on a closed one, and exec closes it again.
void hold_standard_descriptors(void);

// A fork whose end raises no signal here (clone(2) with exit signal 0), and which is killed when we die. Returns as fork does.
// glibc's idea of the thread's id is stale in the child: it must not raise, abort or fork through glibc before an exec.
pid_t spawn_child(void);

// Waits for such a child. Its wait status, or -1 where it cannot be known (SIGCHLD ignored by the caller and the child had exec'ed).
int reap_child(pid_t pid);

// An exec'ed child does raise SIGCHLD (execve(2) restores the exit signal); when that is blocked it stays pending, for the command to see.
// forget_sigchld takes it away again unless it was pending before.
struct sigchld_state { int was_pending; };
void remember_sigchld(struct sigchld_state *state);
void forget_sigchld(const struct sigchld_state *state);

// Default dispositions, empty mask, and soft limits that would hinder a runtime raised to the hard ones: for a child before its exec.
void reset_signals(void);
void raise_limits(void);
