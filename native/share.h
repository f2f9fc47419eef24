// SPDX-License-Identifier: Apache-2.0
// Sharing: processes of one user in one job that start from the same image meet at a socket, and use one mount and one file server.
//
//   first                                   the others
//   binds DIR/share-HOST-KEY, listens
//   forks server, which forks the keeper    connect, send key and pidfd, wait
//   mounts; hands a copy of the mount
//   and its pidfd to the keeper ---------> the keeper (keeper.h) answers each with a copy of the mount
//   becomes its command                     attach it in namespaces of their own, become their commands
//
// Nobody waits for ever, and whoever meets nobody, or a keeper that is gone, starts a server as if it were alone. A file and not an abstract socket:
// those belong to the network namespace and anybody may bind or fill them, while DIR is ours alone. What a killed keeper leaves there is refused
// at the next connect(2) and replaced, and removed by the next keeper that ends.
#pragma once
#include <stdbool.h>
#include "fault.h"
#include "keeper.h"

struct share {
	struct keeper keeper;   // the first: what its keeper needs
	int control;            // the first: to its keeper
	int mount;              // the others: their copy of the mount
};
#define SHARE_NONE {.keeper = KEEPER_NONE, .control = -1, .mount = -1}

enum share_role { SHARE_ALONE, SHARE_FIRST, SHARE_MEMBER };

// Meets the others of the same key in the directory, which must be ours. Call before any namespace is created.
// ALONE: nothing is shared; FIRST: keeper and control are filled; MEMBER: mount is.
enum share_role share_meet(struct share *share, const char *dir, const unsigned char key[MEETING_KEY_SIZE]);

// The first: closes what belongs to the server now, or takes the socket away when there is none.
void share_leave_to_server(struct share *share, bool is_started);

// The first, once the image is mounted: hands its keeper a copy of the mount. root: O_PATH descriptor of it. When that fails nobody joins.
void share_offer(struct share *share, int root);

// The others: attaches the copy on an O_PATH descriptor. 0 or -1.
int share_attach(struct share *share, int target, struct fault *why);
