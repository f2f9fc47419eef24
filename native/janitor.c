// SPDX-License-Identifier: Apache-2.0
// The janitor's life: unpack (in a child, which can be killed at any moment), report, wait for the end of the container, clean up.
#include "janitor.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "detach.h"

static void say(int control, uint32_t kind, uint64_t done, uint64_t total, const struct fault *why)
{
	struct janitor_note note = {.kind = kind, .done = done, .total = total};

	if (why)
		note.why = *why;
	// progress is dropped when nobody listens; the rest is one small message
	send(control, &note, sizeof note, MSG_NOSIGNAL | (kind == JANITOR_PROGRESS ? MSG_DONTWAIT : 0));
}

static void report_progress(void *arg, uint64_t done, uint64_t total)
{
	say(*(int *)arg, JANITOR_PROGRESS, done, total, NULL);
}

_Noreturn static void work(struct janitor_job *job, int control, pid_t parent)
{
	struct fault why = {.error = 0};
	OWN_FD root = -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	close_fd(&job->nest.lock);   // the lock is the janitor's
	root = openat(job->nest.dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	job->unpack.progress = report_progress;
	job->unpack.arg = &control;
	if (root < 0)
		fault(&why, errno, "open the directory to unpack into");
	else if (unpack_into(root, &job->unpack, &why) == 0)
		_exit(0);
	say(control, JANITOR_FAILED, 0, 0, &why);
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

// Runs the worker until it ends, or until the process that wants the tree is gone. 0: unpacked.
static int unpack(struct janitor_job *job, int control)
{
	struct fault why;
	pid_t self = getpid(), worker;
	int pipes[2], status = 0;
	bool abandoned = false;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (worker = fork()) < 0) {
		fault(&why, errno, "start the unpacking process");
		say(control, JANITOR_FAILED, 0, 0, &why);
		return -1;
	}
	if (worker == 0) {
		close(pipes[0]);
		work(job, control, self);
	}
	close(pipes[1]);
	for (;;) {
		struct pollfd wait[2] = {{.fd = control, .events = POLLIN}, {.fd = pipes[0], .events = POLLIN}};
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
	if (abandoned)
		return -1;
	if (WIFSIGNALED(status)) {
		fault_killed(&why, status, job->unpack.place);
		say(control, JANITOR_FAILED, 0, 0, &why);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int rename_to_target(struct janitor_job *job, struct fault *why)
{
	const struct target *target = &job->target;
	int status = (int)syscall(SYS_renameat2, job->nest.dir, "root", target->parent, target->name, 1 /* RENAME_NOREPLACE */);

	// file systems and kernels without it: rename(2) replaces an empty directory at most
	if (status < 0 && (errno == EINVAL || errno == ENOSYS))
		status = renameat(job->nest.dir, "root", target->parent, target->name);
	if (status == 0)
		return 0;
	if (errno != EEXIST && errno != ENOTEMPTY)
		return fault(why, errno, "give the unpacked tree its name %s", target->shown);
	// another run was faster
	close_fd(&job->mark);
	status = job->keep ? target_inspect(target, &job->mark, why) : -1;
	if (status == TARGET_COMPLETE)
		return 0;
	if (status < 0 && job->keep)
		return -1;
	return fault(why, EEXIST, "give the unpacked tree its name %s", target->shown);
}

// Puts a complete tree where it is wanted.
static int finish(struct janitor_job *job, struct fault *why)
{
	OWN_FD root = openat(job->nest.dir, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (!job->target.name)
		return 0;
	if (root < 0 || fchmod(root, 0700) < 0)
		return fault(why, errno, "open the unpacked tree");
	job->mark = target_mark(root, job->target.digest, job->keep, why);
	if (job->mark < 0)
		return -1;
	if (rename_to_target(job, why) < 0) {
		close_fd(&job->mark);
		return -1;
	}
	nest_remove(&job->nest, why);
	nest_close(&job->nest);
	return 0;
}

// A nest is always ours; a target only from the moment it has its name and our mark.
static void clean_up(struct janitor_job *job)
{
	struct fault why;

	if (job->nest.dir >= 0)
		nest_remove(&job->nest, &why);
	if (job->mark >= 0 && !job->keep)
		target_remove(&job->target, &why);
}

// The WATCH note. 1: it came (*watch may be -1), 0: the other side is gone.
static int receive_watch(int control, int *watch, uint64_t *namespace)
{
	struct janitor_note note;
	union { struct cmsghdr head; char space[CMSG_SPACE(sizeof(int))]; } extra;
	struct iovec part = {&note, sizeof note};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &extra, .msg_controllen = sizeof extra};
	struct cmsghdr *head;
	ssize_t size;

	*watch = -1;
	while ((size = recvmsg(control, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (size != (ssize_t)sizeof note || note.kind != JANITOR_WATCH)
		return 0;
	head = CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(watch, CMSG_DATA(head), sizeof(int));
	*namespace = note.done;
	return 1;
}

// The kernel says IN_UNMOUNT when the last mount of the watched file system is gone, which is when the namespace's last process is (inotify(7)).
static int wait_unmount(int watch)
{
	_Alignas(struct inotify_event) char events[4096];

	for (;;) {
		ssize_t size = read(watch, events, sizeof events);
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

static void wait_namespace(int process, uint64_t namespace)
{
	struct pollfd wait = {.fd = process, .events = POLLIN};

	// the command first: as long as it lives nothing needs to be looked up
	if (process >= 0) {
		while (poll(&wait, 1, -1) < 0 && errno == EINTR)
			;
	}
	while (namespace_lives(namespace))
		poll(NULL, 0, 500);
}

_Noreturn static void live(struct janitor_job *job, int control)
{
	struct fault why;
	uint64_t namespace = 0;
	OWN_FD watch = -1;

	if (job->nest.dir >= 0) {
		if (unpack(job, control) < 0) {
			clean_up(job);
			_exit(1);
		}
		if (finish(job, &why) < 0) {
			say(control, JANITOR_FAILED, 0, 0, &why);
			clean_up(job);
			_exit(1);
		}
	}
	close_fd(&job->unpack.file);
	say(control, JANITOR_DONE, 0, 0, NULL);
	if (receive_watch(control, &watch, &namespace)) {
		if (job->nest.lock >= 0)
			nest_note_namespace(job->nest.lock, namespace);
		close_fd(&control);
		if (watch < 0 || wait_unmount(watch) < 0)
			wait_namespace(job->process, namespace);
	}
	clean_up(job);
	_exit(0);
}

int janitor_start(const struct janitor_job *job, struct fault *why)
{
	struct janitor_job own = *job;
	int pair[2], side;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(why, errno, "start the janitor");
	side = detach_fork(why);
	if (side == 0) {
		const int keep[] = {
			pair[1], job->unpack.file, job->nest.parent, job->nest.dir, job->nest.lock, job->target.name ? job->target.parent : -1, job->mark, job->process,
		};
		detach_settle("bundler-janitor", keep, sizeof keep / sizeof keep[0]);
		live(&own, pair[1]);
	}
	close(pair[1]);
	if (side > 0)
		return pair[0];
	close(pair[0]);
	return -1;
}
