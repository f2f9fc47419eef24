// SPDX-License-Identifier: Apache-2.0
// Namespaces of the calling process.
#pragma once
#include <sys/types.h>
#include "fault.h"

struct userns_map { uid_t inside_uid, outside_uid; gid_t inside_gid, outside_gid; };

// A user namespace with one uid and one gid mapped and setgroups denied (user_namespaces(7)). 0 or -1.
int userns_enter(const struct userns_map *map, struct fault *why);

// The namespace alone, without a map: nobody is anybody in it. 0 or -1.
int userns_unshare(struct fault *why);

// unshare(2) for the namespaces named by UNSHARE_* of plan.h. Mounts of a new mount namespace become rslave, so that nothing we mount is seen outside;
// a new network namespace gets its loopback interface up; a new pid namespace is for the next child (supervise.h). 0 or -1.
int namespaces_unshare(unsigned flags, struct fault *why);
