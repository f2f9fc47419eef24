// SPDX-License-Identifier: Apache-2.0
// Programs of the host that prepare the container: run while its root is put together, in our namespaces, with the host still in view.
#pragma once
#include <sys/types.h>
#include "fault.h"
#include "plan.h"
#include "rootfs.h"

// Who waits for the end of a hook: gives its wait status, or -1 with errno.
struct hook_wait { int (*wait)(void *arg, pid_t pid); void *arg; };

// Obeys a `hook` operation and waits for its end. umask: the user's. 0, or -1 with the name and the status of one that failed.
int hook_run(const struct rootfs *rootfs, const struct plan_op *op, mode_t umask, const struct hook_wait *waiter, struct fault *why);

// Removes the files that hold the environment from the staging file system, with all others that lie beside them.
// binds: "HOST:PLACE" each, whose files are still needed by their names; NULL: none.
void hook_forget(const struct rootfs *rootfs, char *const *binds);
