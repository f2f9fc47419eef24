// SPDX-License-Identifier: Apache-2.0
// Owners as they are outside of a user namespace, for a process that has entered one: there, ids without a place in its map show as nobody's.
#pragma once
#include <sys/stat.h>
#include <sys/types.h>

struct owners { int socket; pid_t process; };   // process 0: not started

// Starts a process that stays outside; to be called before the namespace is entered, by a process without threads. 0, or -1 with errno.
int owners_start(struct owners *owners);
// Puts the user and the group of an open file into *st. It may be open with O_PATH. 0, or -1 with errno.
int owners_tell(const struct owners *owners, int fd, struct stat *st);
// The file capabilities of an open file (security.capability) as they are outside: inside, those of a user namespace that is none of ours cannot be
// read at all (EOVERFLOW). Their size, or -1 with errno.
ssize_t owners_capability(const struct owners *owners, int fd, void *value, size_t size);
void owners_stop(struct owners *owners);
