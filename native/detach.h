// SPDX-License-Identifier: Apache-2.0
// A background process that is nobody's child: the file server, the janitor, the sweep.
#pragma once
#include <stddef.h>
#include "fault.h"

// Forks twice, so that the caller is left without a child and gets no SIGCHLD. 0: this is the detached process; 1: this is the caller; -1: it failed.
int detach_fork(struct fault *why);

// For the detached process: own session, keyboard and termination signals ignored, no descriptors but those kept (none of 0 to 2), stdio on
// /dev/null, "/" as working directory. nice, limits and CPU affinity stay the user's. name: at most 15 bytes, as ps shows it; our copies of the
// caller's arguments and environment are overwritten, since they may hold secrets.
void detach_settle(const char *name, const int *keep, size_t count);

// The same for a child of a settled process, without what it has inherited: signals, limits, working directory.
void detach_settle_child(const char *name, const int *keep, size_t count);

// Overwrites our copies of the caller's arguments and environment in /proc/PID/cmdline and environ. name: shown instead of them, and by ps (at most
// 15 bytes); NULL: argv[0] alone stays.
void rename_process(const char *name);
