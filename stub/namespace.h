// SPDX-License-Identifier: Apache-2.0
// A private user and mount namespace in which nothing looks different, but we may mount.
#pragma once

// Each returns NULL, or the name of the step that failed (docs/plan.md) with errno set.
const char *enter_user_namespace(void);      // "unshare" "setgroups" "uid_map" "gid_map"; our ids mean the same inside
const char *enter_mount_namespace(void);     // "unshare" "propagation"
// Mounts a small tmpfs (mode 0700) on a directory that nobody looks at, and tells which. "tmpfs".
const char *mount_scratch(const char *data, const char **base);
