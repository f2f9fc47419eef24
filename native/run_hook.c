// SPDX-License-Identifier: Apache-2.0
// Waiting for a hook, which may ask for mounts while it runs: it puts fstab lines into a staged file and a line into a pipe, and reads the status
// from another one (the command enroot-mount, which the planner stages). What the lines mean is the planner's to say.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "hook.h"
#include "paths.h"
#include "run.h"
#include "wire.h"

#define MOUNT_TEXT "run/mount/text"
enum { LOOK_AGAIN_MS = 10 };

// Both ends are ours too, so that neither opening nor reading waits for a hook.
static int open_pipe(int dir, const char *name)
{
	if (mkfifoat(dir, name, 0600) < 0 && errno != EEXIST)
		return -1;
	return openat(dir, name, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
}

static int open_pipes(struct run *run, struct fault *why)
{
	OWN_FD dir = path_create(run->rootfs.staging, "run/mount", PATH_MAKE_DIR, 0700);

	run->mount_requests = dir < 0 ? -1 : open_pipe(dir, "request");
	run->mount_replies = dir < 0 ? -1 : open_pipe(dir, "reply");
	return run->mount_replies < 0 || run->mount_requests < 0 ? fault(why, errno, "make the pipes for hooks") : 0;
}

// In our own view, which is the hook's: whatever it has mounted or made is there.
static int obey_mounts(struct run *run, const struct plan *plan, struct fault *why)
{
	for (size_t i = 0; i < plan->count; i++) {
		struct mount_request request;
		if (plan->op[i].code != OP_MOUNT)
			return fault(why, 0, "mount for a hook: a plan with %s", plan->op[i].name);
		request = mount_request_of(&plan->op[i]);
		mount_open_source(&request);
		if (run_mount(run, &request, why) < 0)
			return -1;
	}
	return 0;
}

static int mount_for_hook(struct run *run, struct fault *why)
{
	struct buffer facts = {0}, reply = {0};
	struct plan plan = {0};
	int status;

	if (run_tell_file(&run->rootfs, MOUNT_TEXT, &facts, why) < 0)
		return -1;
	facts_addf(&facts, "root", "%s/root", run->rootfs.base);
	status = run->end->consult(run->end->arg, &facts, &plan, &reply, why);
	if (status == 0)
		status = obey_mounts(run, &plan, why);
	plan_free(&plan);
	buffer_free(&reply);
	return status;
}

static void answer_request(struct run *run)
{
	struct fault why;
	char line[64];
	int status;

	if (read(run->mount_requests, line, sizeof line) <= 0)
		return;
	status = mount_for_hook(run, &why);
	if (status < 0)
		fault_print(&why);
	dprintf(run->mount_replies, "%d\n", status != 0);
}

static int wait_for_hook(void *arg, pid_t pid)
{
	struct run *run = arg;
	// Linux 5.3; before it we look now and then
	OWN_FD process = (int)syscall(SYS_pidfd_open, pid, 0);
	int status;

	for (;;) {
		struct pollfd ready[2] = {{.fd = run->mount_requests, .events = POLLIN}, {.fd = process, .events = POLLIN}};
		pid_t got = waitpid(pid, &status, WNOHANG | __WALL);
		if (got == pid)
			return status;
		if (got < 0 && errno != EINTR)
			return -1;
		poll(ready, 2, process < 0 ? LOOK_AGAIN_MS : -1);
		if (ready[0].revents & POLLIN)
			answer_request(run);
	}
}

int run_hook(struct run *run, const struct plan_op *op, struct fault *why)
{
	const struct hook_wait waiter = {wait_for_hook, run};

	if (run->rootfs.staging < 0)
		return fault(why, 0, "run the hook %s: it comes before root", op->field[0].data);
	if (run->end && run->end->consult && run->mount_replies < 0 && open_pipes(run, why) < 0)
		return -1;
	return hook_run(&run->rootfs, op, run->umask, &waiter, why);
}
