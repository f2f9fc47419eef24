// SPDX-License-Identifier: Apache-2.0
// A mount of one mount namespace put into another one, also one of another user namespace: open_tree(2) and move_mount(2), Linux 5.2.
#pragma once
#include <stdbool.h>

// A copy of the mount behind the O_PATH descriptor `root`, alone or with all that is mounted below: a descriptor of something that is attached nowhere,
// which keeps the file system alive until it is closed. Needs CAP_SYS_ADMIN in the mount namespace. -1 with errno.
int transplant_take(int root, bool whole_tree);

// Attaches such a mount on the O_PATH descriptor `target`, in the caller's mount namespace; mount stays open. 0, or -1 with errno.
int transplant_put(int mount, int target);
