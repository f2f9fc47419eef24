// SPDX-License-Identifier: Apache-2.0
#include "watch.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "nest.h"
#include "passing.h"

void watch_say(int control, uint32_t kind, uint64_t done, uint64_t total, const struct fault *why)
{
	struct watch_note note = {.kind = kind, .done = done, .total = total};

	if (why)
		note.why = *why;
	// progress is dropped when nobody listens; the rest is one small message
	send(control, &note, sizeof note, MSG_NOSIGNAL | (kind == WATCH_PROGRESS ? MSG_DONTWAIT : 0));
}

static int watch_staging(int staging)
{
	char path[32];
	int watch = inotify_init1(IN_CLOEXEC);

	snprintf(path, sizeof path, "/proc/self/fd/%d", staging);
	if (watch >= 0 && inotify_add_watch(watch, path, IN_DELETE_SELF) < 0)
		close_fd(&watch);
	return watch;
}

// Sends a START note, with the descriptor when there is one, and takes its answer: from then on a sweep knows the container, whatever happens to
// the keeper.
static int send_start(int *control, const struct watch_note *note, int watch, struct fault *why)
{
	struct watch_note answer;
	ssize_t size;

	if (pass_send(*control, note, sizeof *note, &watch, watch < 0 ? 0 : 1) < 0)
		return fault(why, errno, "hand the container's files over to their keeper");
	while ((size = recv(*control, &answer, sizeof answer, 0)) < 0 && errno == EINTR)
		;
	close_fd(control);
	return size == (ssize_t)sizeof answer ? 0 : fault(why, 0, "hand the container's files over: their keeper has ended");
}

int watch_hand_over(int *control, int staging, struct fault *why)
{
	OWN_FD watch = staging < 0 ? -1 : watch_staging(staging);
	struct stat facts;
	struct watch_note note = {.kind = WATCH_START};

	if (stat("/proc/self/ns/mnt", &facts) < 0)
		return fault(why, errno, "look at the mount namespace");
	note.done = facts.st_ino;
	return send_start(control, &note, watch, why) < 0 ? -1 : watch >= 0;
}

int watch_hand_over_root(int *control, int root, struct fault *why)
{
	struct stat facts;
	struct watch_note note = {.kind = WATCH_START_ROOT};

	if (fstat(root, &facts) < 0)
		return fault(why, errno, "look at the root directory");
	note.done = facts.st_ino;
	note.total = facts.st_dev;
	return send_start(control, &note, -1, why);
}

int watch_receive(int control, struct watch *watch)
{
	struct watch_note note;
	ssize_t size;

	*watch = (struct watch){.inotify = -1};
	size = pass_receive(control, &note, sizeof note, &watch->inotify, 1);
	if (size != (ssize_t)sizeof note || (note.kind != WATCH_START && note.kind != WATCH_START_ROOT)) {
		close_fd(&watch->inotify);
		return 0;
	}
	watch->user = (struct nest_user){.is_root = note.kind == WATCH_START_ROOT, .inode = note.done, .device = note.total};
	return 1;
}

void watch_acknowledge(int *control)
{
	watch_say(*control, WATCH_DONE, 0, 0, NULL);
	close_fd(control);
}

// The kernel says IN_UNMOUNT when the last mount of the watched file system is gone, which is when the namespace's last process is (inotify(7)).
static int await_unmount(int inotify)
{
	_Alignas(struct inotify_event) char events[4096];

	for (;;) {
		ssize_t size = read(inotify, events, sizeof events);
		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return -1;
		for (char *at = events; at < events + size; ) {
			const struct inotify_event *event = (const void *)at;
			if (event->mask & (IN_UNMOUNT | IN_IGNORED))
				return 0;
			at += sizeof *event + event->len;
		}
	}
}

static void await_user(int process, const struct nest_user *user)
{
	struct pollfd wait = {.fd = process, .events = POLLIN};

	// the command first: as long as it lives nothing needs to be looked up
	if (process >= 0) {
		while (poll(&wait, 1, -1) < 0 && errno == EINTR)
			;
	}
	while (nest_user_lives(user))
		poll(NULL, 0, 500);
}

void watch_await_end(struct watch *watch, int process)
{
	if (watch->inotify < 0 || await_unmount(watch->inotify) < 0)
		await_user(process, &watch->user);
	close_fd(&watch->inotify);
}
