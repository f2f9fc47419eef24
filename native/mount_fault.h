// SPDX-License-Identifier: Apache-2.0
// What an errno of mount(2) means, and what to try.
#pragma once
#include "fault.h"

// As fault(), and adds the hint for errno `error` of a mount of `type` ("bind" for bind mounts, "move", "remount", a file system's name ..). Returns -1.
__attribute__((format(printf, 4, 5))) int mount_fault(struct fault *why, int error, const char *type, const char *format, ...);
