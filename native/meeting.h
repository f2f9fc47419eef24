// SPDX-License-Identifier: Apache-2.0
// Where processes that may share meet: a socket in a directory of ours, named after what they have in common.
#pragma once

#define MEETING_KEY_SIZE 32
#define MEETING_NAME_SIZE 64

// "share-HOST-KEY": the host's part keeps the nodes apart that share a file system.
void meeting_name(char name[MEETING_NAME_SIZE], const unsigned char key[MEETING_KEY_SIZE]);

// All take the directory's descriptor, open for reading (O_PATH will not do), so that the name fits into an address however long the path is (unix(7): 108 bytes).

// Connects to the keeper of that name; waits at most wait_ms when its queue is full. -1 with errno: ENOENT: nobody was here; ECONNREFUSED: who was
// here is gone.
int meeting_connect(int dir, const char *name, int wait_ms);

// A socket that listens under that name, which must be free. -1 with errno (EADDRINUSE).
int meeting_listen(int dir, const char *name);

// Makes what is done with names in the directory one after the other; waits at most wait_ms. 1: locked; 0: not, such as on a file system without
// flock(2), where the worst is that two share less than they could.
int meeting_lock(int dir, int wait_ms);
void meeting_unlock(int dir);

// Removes the sockets of this host that nobody listens to any more. For it an O_PATH descriptor will do.
void meeting_sweep(int dir);

// Removes the directory when nothing of anybody is in it any more, such as after --clear-cache.
void meeting_tidy(int dir);
