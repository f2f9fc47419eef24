// SPDX-License-Identifier: Apache-2.0
// The keeper of a shared mount: a small process beside the file server, which holds the mount for those who come later, in namespaces of its own,
// and a pidfd for each member. It ends when the last member has, or when the file server has; the kernel unmounts when the last process that
// uses the mount is gone, background processes of members included.
#pragma once
#include <stdint.h>
#include "meeting.h"

struct keeper {
	int dir;                             // the directory of the socket, open for reading
	int listener;                        // the socket others connect to
	int control;                         // from the first member, which sends the mount and its pidfd
	char name[MEETING_NAME_SIZE];          // of the socket
	unsigned char key[MEETING_KEY_SIZE];   // what the members have in common
};
#define KEEPER_NONE {.dir = -1, .listener = -1, .control = -1}
enum { KEEPER_FDS = 3 };

// What they say: the first, with its mount and pidfd; those who join, with their pidfd; the keeper, with a copy of the mount.
struct keeper_hello { uint32_t wire; unsigned char key[MEETING_KEY_SIZE]; };
struct keeper_reply { uint32_t wire; };
enum { KEEPER_WIRE = 1 };

// In the file server, which must have no threads yet: forks the keeper, which knows from then on when the server ends. Closes the descriptors here.
// Without it nothing is shared, so a failure is no error.
void keeper_start(struct keeper *keeper);

// Instead, when there will be no server: removes the socket.
void keeper_give_up(struct keeper *keeper);
