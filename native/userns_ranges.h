// SPDX-License-Identifier: Apache-2.0
// A user namespace with ranges of ids from /etc/subuid and /etc/subgid.
#pragma once
#include "fault.h"

// Arguments of newuidmap(1) and newgidmap(1) after the pid: INSIDE OUTSIDE COUNT .., and the programs' paths.
struct userns_ranges { char *const *uid_map, *const *gid_map; const char *newuidmap, *newgidmap; };

// Enters such a namespace. The setuid programs write the maps; a helper outside the namespace runs them, and is gone when this returns. 0 or -1.
int userns_enter_ranges(const struct userns_ranges *ranges, struct fault *why);
