// SPDX-License-Identifier: Apache-2.0
// The janitor's life: unpack (in a child, which can be killed at any moment), report, wait for the end of the container, clean up.
#include "janitor.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "detach.h"
#include "dirs.h"
#include "nest.h"
#include "passing.h"
#include "watch.h"

struct janitor {
	struct janitor_job job;
	int control;
	struct nest nest;          // where it is unpacked; closed when there is none (any more)
	int mark;                  // the target's mark with its lock, or -1
};

static void report_progress(void *arg, uint64_t done, uint64_t total)
{
	watch_say(*(int *)arg, WATCH_PROGRESS, done, total, NULL);
}

_Noreturn static void work(struct janitor *janitor, pid_t parent)
{
	struct unpack_request *request = &janitor->job.unpack;
	struct fault why = {.error = 0};
	OWN_FD root = -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	close_fd(&janitor->nest.lock);   // the lock is the janitor's
	root = openat(janitor->nest.dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	request->progress = report_progress;
	request->arg = &janitor->control;
	if (root < 0)
		fault(&why, errno, "open the directory to unpack into");
	else if (unpack_into(root, request, &why) == 0)
		_exit(0);
	watch_say(janitor->control, WATCH_FAILED, 0, 0, &why);
	_exit(1);
}

static void fault_killed(struct fault *why, int status, const char *place)
{
	fault(why, 0, "unpack the image in %s: the unpacking process was killed by signal %d (%s)", place, WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (WTERMSIG(status) == SIGKILL)
		fault_hint(why, "memory may be too small; see the kernel's log");
	else if (WTERMSIG(status) == SIGXFSZ)
		fault_hint(why, "the limit on file sizes is too small: ulimit -f unlimited");
}

// Runs the worker until it ends, or until the process that wants the tree is gone. 1: unpacked; 0: it failed and has said so; -1 with why.
static int run_worker(struct janitor *janitor, struct fault *why)
{
	pid_t self = getpid(), worker;
	int pipes[2], status = 0;
	bool abandoned = false;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (worker = fork()) < 0)
		return fault(why, errno, "start the unpacking process");
	if (worker == 0) {
		close(pipes[0]);
		work(janitor, self);
	}
	close(pipes[1]);
	for (;;) {
		struct pollfd wait[2] = {{.fd = janitor->control, .events = POLLIN}, {.fd = pipes[0], .events = POLLIN}};
		if (poll(wait, 2, -1) < 0 && errno == EINTR)
			continue;
		if (wait[1].revents)
			break;
		if (wait[0].revents) {
			abandoned = true;
			kill(worker, SIGKILL);
			break;
		}
	}
	close(pipes[0]);
	while (waitpid(worker, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && !abandoned) {
		fault_killed(why, status, janitor->job.unpack.place);
		return -1;
	}
	return !abandoned && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int rename_to_target(struct janitor *janitor, struct fault *why)
{
	const struct target *target = &janitor->job.target;
	int status = (int)syscall(SYS_renameat2, janitor->nest.dir, "root", target->parent, target->name, 1 /* RENAME_NOREPLACE */);

	// file systems and kernels without it: rename(2) replaces an empty directory at most
	if (status < 0 && (errno == EINVAL || errno == ENOSYS))
		status = renameat(janitor->nest.dir, "root", target->parent, target->name);
	if (status == 0)
		return 0;
	if (errno != EEXIST && errno != ENOTEMPTY)
		return fault(why, errno, "give the unpacked tree its name %s", target->shown);
	// another run was faster
	close_fd(&janitor->mark);
	status = janitor->job.reuse ? target_inspect(target, &janitor->mark, why) : TARGET_ABSENT;
	if (status == TARGET_ABSENT)
		return fault(why, EEXIST, "give the unpacked tree its name %s", target->shown);
	return status == TARGET_COMPLETE ? 0 : -1;
}

// Gives a complete tree the target's name, and removes what is left of the nest.
static int finish_target(struct janitor *janitor, struct fault *why)
{
	OWN_FD root = openat(janitor->nest.dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct fault ignored;

	if (root < 0 || fchmod(root, 0700) < 0)
		return fault(why, errno, "open the unpacked tree");
	janitor->mark = target_mark(root, janitor->job.target.digest, janitor->job.keep, why);
	if (janitor->mark < 0)
		return -1;
	if (rename_to_target(janitor, why) < 0) {
		close_fd(&janitor->mark);
		return -1;
	}
	nest_remove(&janitor->nest, &ignored);
	nest_close(&janitor->nest);
	return 0;
}

static int fault_nest(struct fault *why, int error, const char *place)
{
	fault(why, error, "make a directory to unpack into, for %s", place);
	if (error == EACCES || error == EROFS)
		fault_hint(why, "it cannot be written; unpack elsewhere: --target DIR or BUNDLER_CACHE_DIR=DIR");
	return -1;
}

// A nest below parent, after a sweep of what killed runs left there. 0 or -1.
static int make_nest(struct janitor *janitor, int parent, const char *prefix, struct fault *why)
{
	nest_sweep(parent, prefix, 1);
	return nest_make(&janitor->nest, parent, prefix, why) == 0 ? 0 : fault_nest(why, why->error, janitor->job.unpack.place);
}

// A nest in a directory of ours, which is made here and not by the caller, whom a kill may end at any moment.
static int make_nest_in_place(struct janitor *janitor, struct fault *why)
{
	for (int tries = 0;; tries++) {
		struct dir_fact fact;
		OWN_FD place = dir_probe(janitor->job.unpack.place, 0, &fact);
		if (place < 0)
			return fault_nest(why, fact.error, janitor->job.unpack.place);
		if (make_nest(janitor, place, NEST_PREFIX, why) == 0)
			return 0;
		// The janitor of another run has just removed it: it was empty.
		if (why->error != ENOENT || tries == 10)
			return -1;
	}
}

static int unpack_target(struct janitor *janitor, struct fault *why)
{
	const struct janitor_job *job = &janitor->job;
	char prefix[NAME_MAX + 1];
	int state;

	if (target_prefix(&job->target, prefix, sizeof prefix, why) < 0)
		return -1;
	// runs that start together with the same target unpack it once
	while ((state = target_inspect(&job->target, &janitor->mark, why)) == TARGET_ABSENT && job->reuse && nest_wait(job->target.parent, prefix))
		;
	if (state == TARGET_COMPLETE && !job->reuse) {
		close_fd(&janitor->mark);
		fault(why, EEXIST, "unpack into %s", job->target.shown);
		return fault_hint(why, "it was unpacked earlier from this image: --keep uses it again");
	}
	if (state != TARGET_ABSENT)
		return state == TARGET_COMPLETE ? 1 : -1;
	if (make_nest(janitor, job->target.parent, prefix, why) < 0)
		return -1;
	state = run_worker(janitor, why);
	if (state == 1 && finish_target(janitor, why) < 0)
		state = -1;
	return state;
}

// 1: the tree is there; 0: it is not, which was said; -1 with why.
static int unpack(struct janitor *janitor, struct fault *why)
{
	if (janitor->job.target.name)
		return unpack_target(janitor, why);
	if (make_nest_in_place(janitor, why) < 0)
		return -1;
	return run_worker(janitor, why);
}

// A nest is always ours; a target only while we hold its mark.
static void clean_up(struct janitor *janitor)
{
	struct fault ignored;

	if (janitor->nest.dir >= 0)
		nest_remove(&janitor->nest, &ignored);
	// Only when nothing else is in it, such as the runtime.
	if (!janitor->job.target.name)
		rmdir(janitor->job.unpack.place);
	if (janitor->mark >= 0 && !janitor->job.keep)
		target_remove(&janitor->job.target, &ignored);
}

// Until the last process of the container is gone. Returns at once when the process that wants the tree went before it was one.
static void wait_for_the_end(struct janitor *janitor)
{
	struct watch watch;

	if (!watch_receive(janitor->control, &watch))
		return;
	if (janitor->nest.lock >= 0)
		nest_note_user(janitor->nest.lock, &watch.user);
	watch_acknowledge(&janitor->control);
	watch_await_end(&watch, janitor->job.process);
}

// With the lock: whoever holds that too keeps the tree from being swept, should this process be killed.
static void say_done(const struct janitor *janitor)
{
	struct watch_note note = {.kind = WATCH_DONE};
	int lock = janitor->nest.dir >= 0 ? janitor->nest.lock : janitor->mark;

	snprintf(note.why.text, sizeof note.why.text, "%s", janitor->nest.dir >= 0 ? janitor->nest.name : "");
	pass_send(janitor->control, &note, sizeof note, &lock, lock >= 0);
}

_Noreturn static void live(struct janitor *janitor)
{
	struct fault why = {.error = 0};
	int status = unpack(janitor, &why);

	close_fd(&janitor->job.unpack.file);
	if (status == 1) {
		say_done(janitor);
		wait_for_the_end(janitor);
	} else if (status < 0) {
		watch_say(janitor->control, WATCH_FAILED, 0, 0, &why);
	}
	clean_up(janitor);
	_exit(status != 1);
}

int janitor_start(const struct janitor_job *job, struct fault *why)
{
	struct janitor janitor = {.job = *job, .nest = NEST_NONE, .mark = -1};
	int pair[2], side;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(why, errno, "start the janitor");
	side = detach_fork(why);
	if (side == 0) {
		const int keep[] = {pair[1], job->unpack.file, job->target.parent, job->process};
		detach_settle("bundler-janitor", keep, sizeof keep / sizeof keep[0]);
		janitor.control = pair[1];
		live(&janitor);
	}
	close(pair[1]);
	if (side > 0)
		return pair[0];
	close(pair[0]);
	return -1;
}
