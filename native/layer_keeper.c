// SPDX-License-Identifier: Apache-2.0
// The keeper of a writable layer: holds its lock until the last process of the container is gone, then removes what is not to stay.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "detach.h"
#include "dirs.h"
#include "layer.h"
#include "nest.h"
#include "watch.h"

struct keeper {
	const struct layer_request *request;
	struct nest nest;
	struct layer_dir dir;
	int control, process;
};

static int make_nest(struct keeper *keeper, struct fault *why)
{
	const char *place = keeper->request->place;

	for (int tries = 0;; tries++) {
		struct dir_fact fact;
		OWN_FD dir = dir_probe(place, 0, &fact);
		if (dir < 0)
			return fault(why, fact.error, "make a writable layer in %s", place);
		nest_sweep(dir, NULL, 1);   // of what killed runs left
		if (nest_make(&keeper->nest, dir, NEST_LAYER_PREFIX, why) == 0)
			break;
		// another run's keeper has just removed the directory: it was empty
		if (why->error != ENOENT || tries == 10)
			return fault(why, why->error, "make a writable layer in %s", place);
	}
	if (mkdirat(keeper->nest.dir, "root/upper", 0755) < 0 || mkdirat(keeper->nest.dir, "root/work", 0700) < 0)
		return fault(why, errno, "make a writable layer in %s", place);
	return 0;
}

// 0, with what DONE tells in why->text; -1 with why.
static int take(struct keeper *keeper, struct fault *why)
{
	if (keeper->request->dir[0]) {
		if (layer_dir_take(&keeper->dir, keeper->request, why) < 0)
			return -1;
		snprintf(why->text, sizeof why->text, "%s", keeper->dir.fresh ? "fresh" : "used");
		return 0;
	}
	if (make_nest(keeper, why) < 0)
		return -1;
	snprintf(why->text, sizeof why->text, "%s", keeper->nest.name);
	return 0;
}

// Whether the container came to be.
static bool stay(struct keeper *keeper)
{
	struct watch watch;

	if (!watch_receive(keeper->control, &watch))
		return false;
	if (keeper->nest.lock >= 0)
		nest_note_user(keeper->nest.lock, &watch.user);
	watch_acknowledge(&keeper->control);
	watch_await_end(&watch, keeper->process);
	return true;
}

_Noreturn static void live(struct keeper *keeper)
{
	struct fault why = {.error = 0}, ignored;
	bool taken = take(keeper, &why) == 0;

	watch_say(keeper->control, taken ? WATCH_DONE : WATCH_FAILED, 0, 0, &why);
	if (taken && !stay(keeper))
		layer_dir_remove(&keeper->dir);
	if (keeper->nest.dir >= 0) {
		nest_remove(&keeper->nest, &ignored);
		rmdir(keeper->request->place);   // only when nothing else is in it, such as the runtime
	}
	_exit(!taken);
}

int layer_keeper_start(const struct layer_request *request, struct fault *why)
{
	struct keeper keeper = {.request = request, .nest = NEST_NONE, .dir = LAYER_DIR_NONE, .control = -1};
	OWN_FD process = (int)syscall(SYS_pidfd_open, getpid(), 0);   // close-on-exec of itself
	int pair[2], side;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(why, errno, "start the keeper of the writable layer");
	side = detach_fork(why);
	if (side == 0) {
		const int keep[] = {pair[1], process};
		// relative paths are made absolute by the planner: this changes the directory
		detach_settle("bundler-layer", keep, sizeof keep / sizeof keep[0]);
		keeper.control = pair[1];
		keeper.process = process;
		live(&keeper);
	}
	close(pair[1]);
	if (side > 0)
		return pair[0];
	close(pair[0]);
	return -1;
}
