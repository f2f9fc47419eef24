// SPDX-License-Identifier: Apache-2.0
#include "keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "detach.h"
#include "fault.h"
#include "passing.h"
#include "plan.h"
#include "rootfs.h"
#include "transplant.h"
#include "userns.h"

enum { MAX_WATCHED = 4096 };

// What is polled. A visitor has connected; once it has asked, its pidfd is known; answered, it is a member.
enum kind { WATCH_SERVER, WATCH_CONTROL, WATCH_LISTENER, WATCH_VISITOR, WATCH_MEMBER };
struct watched { enum kind kind; int pidfd; };

struct state {
	struct keeper keeper;
	uid_t uid;
	gid_t gid;
	ino_t ino;                // of the socket
	int mount;                // from the first member, attached nowhere; -1 before it came and once it is anchored
	struct rootfs anchor;     // the mount in our own namespaces, from when somebody joins
	bool ready;               // the first member has come
	bool failed;              // to make the anchor
	unsigned members, count;
	struct pollfd poll[MAX_WATCHED];
	struct watched watched[MAX_WATCHED];
};

static bool watch(struct state *state, enum kind kind, int fd)
{
	if (state->count == MAX_WATCHED)
		return false;
	state->poll[state->count] = (struct pollfd){ .fd = fd, .events = POLLIN };
	state->watched[state->count++] = (struct watched){ .kind = kind, .pidfd = -1 };
	return true;
}

// Closes it; its place is given away by tidy().
static void drop(struct state *state, unsigned i)
{
	if (state->watched[i].kind == WATCH_MEMBER)
		state->members--;
	if (state->watched[i].kind == WATCH_LISTENER)
		state->keeper.listener = -1;
	close_fd(&state->poll[i].fd);
	close_fd(&state->watched[i].pidfd);
	state->poll[i].revents = 0;
}

static void tidy(struct state *state)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < state->count; i++) {
		if (state->poll[i].fd < 0)
			continue;
		state->poll[kept] = state->poll[i];
		state->watched[kept++] = state->watched[i];
	}
	state->count = kept;
}

// The name may be somebody else's by now, where locks do not work.
static void remove_name(const struct state *state)
{
	struct stat facts;

	if (fstatat(state->keeper.dir, state->keeper.name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && facts.st_ino == state->ino)
		unlinkat(state->keeper.dir, state->keeper.name, 0);
}

// Namespaces of our own, from which copies of the mount can be taken (a mount that is attached nowhere can be copied from Linux 6.15 on only).
static int make_anchor(struct state *state)
{
	const struct userns_map map = { state->uid, state->uid, state->gid, state->gid };
	struct fault ignored;
	OWN_FD target = -1;

	// root can do without, where no user namespace can be had
	if (userns_enter(&map, &ignored) < 0 && state->uid != 0)
		return -1;
	if (namespaces_unshare(UNSHARE_MOUNT, &ignored) < 0)
		return -1;
	target = rootfs_mountpoint(&state->anchor, &ignored);
	if (target < 0 || transplant_put(state->mount, target) < 0 || rootfs_refresh(&state->anchor, &ignored) < 0)
		return -1;
	close_fd(&state->mount);
	return 0;
}

// A copy of the mount for a member, or -1.
static int copy_mount(struct state *state)
{
	if (state->anchor.fd < 0 && !state->failed)
		state->failed = make_anchor(state) < 0;
	return state->failed ? -1 : transplant_take(state->anchor.fd, false);
}

// Answers a visitor that has asked. With the mount it becomes a member; without, it goes alone.
static void answer(struct state *state, unsigned i)
{
	const struct keeper_reply reply = { .wire = KEEPER_WIRE };
	OWN_FD copy = copy_mount(state);

	if (pass_send(state->poll[i].fd, &reply, sizeof reply, &copy, copy < 0 ? 0 : 1) < 0 || copy < 0) {
		drop(state, i);
		return;
	}
	close(state->poll[i].fd);
	state->poll[i] = (struct pollfd){ .fd = state->watched[i].pidfd, .events = POLLIN };
	state->watched[i] = (struct watched){ .kind = WATCH_MEMBER, .pidfd = -1 };
	state->members++;
}

static bool is_hello(const struct state *state, const struct keeper_hello *hello, ssize_t size)
{
	return size == (ssize_t)sizeof *hello && hello->wire == KEEPER_WIRE && memcmp(hello->key, state->keeper.key, sizeof hello->key) == 0;
}

static void listen_to_visitor(struct state *state, unsigned i)
{
	struct keeper_hello hello;
	int pidfd;
	ssize_t size = pass_receive(state->poll[i].fd, &hello, sizeof hello, &pidfd, 1);

	if (size < 0 && errno == EAGAIN)
		return;
	if (state->watched[i].pidfd >= 0 || pidfd < 0 || !is_hello(state, &hello, size)) {
		close_fd(&pidfd);
		drop(state, i);
		return;
	}
	state->watched[i].pidfd = pidfd;
	if (state->ready)
		answer(state, i);
}

// Of the same user and group: the kernel lets nobody else read the mount (fuse(4), without allow_other). 1: there was one; 0: none; -1: no more can come.
static int accept_visitor(struct state *state)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	int fd = accept4(state->keeper.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -1 : errno == EINTR || errno == ECONNABORTED;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != state->uid || peer.gid != state->gid || !watch(state, WATCH_VISITOR, fd))
		close(fd);
	return 1;
}

static void answer_waiting(struct state *state)
{
	for (unsigned i = 0; i < state->count; i++) {
		if (state->watched[i].kind == WATCH_VISITOR && state->watched[i].pidfd >= 0)
			answer(state, i);
	}
}

// The first member: its mount, or its end. -1: it had none.
static int listen_to_first(struct state *state, unsigned i)
{
	struct keeper_hello hello;
	int passed[2];
	ssize_t size = pass_receive(state->poll[i].fd, &hello, sizeof hello, passed, 2);

	drop(state, i);
	if (!is_hello(state, &hello, size) || passed[0] < 0 || passed[1] < 0 || !watch(state, WATCH_MEMBER, passed[1])) {
		close_fd(&passed[0]);
		close_fd(&passed[1]);
		return -1;
	}
	state->mount = passed[0];
	state->ready = true;
	state->members++;
	answer_waiting(state);
	return 0;
}

// One event. -1: the keeper is of no use any more.
static int handle(struct state *state, unsigned i)
{
	switch (state->watched[i].kind) {
	case WATCH_SERVER:
		return -1;
	case WATCH_CONTROL:
		return listen_to_first(state, i);
	case WATCH_LISTENER:
		if (accept_visitor(state) < 0) {
			remove_name(state);
			drop(state, i);
		}
		return 0;
	case WATCH_VISITOR:
		listen_to_visitor(state, i);
		return 0;
	case WATCH_MEMBER:
		drop(state, i);
		return 0;
	}
	return -1;
}

// One round of what has happened. A member's end is taken last, so that whoever asked before is a member by then.
static int go_round(struct state *state)
{
	unsigned count = state->count;

	for (int ends = 0; ends <= 1; ends++) {
		for (unsigned i = 0; i < count; i++) {
			if (state->poll[i].revents && (state->watched[i].kind == WATCH_MEMBER) == ends && handle(state, i) < 0)
				return -1;
		}
	}
	tidy(state);
	return 0;
}

// Nobody finds us any more; who is in the queue already, with a question, may still join. Whether somebody did.
static bool retire(struct state *state)
{
	remove_name(state);
	while (accept_visitor(state) > 0)
		;
	for (unsigned i = 0; i < state->count; i++) {
		if (state->watched[i].kind == WATCH_LISTENER)
			drop(state, i);
		else if (state->watched[i].kind == WATCH_VISITOR)
			listen_to_visitor(state, i);
	}
	tidy(state);
	return state->members > 0;
}

// Until the last member has ended, or what it is kept for is gone.
static void keep(struct state *state)
{
	do {
		while (!state->ready || state->members > 0) {
			if (poll(state->poll, state->count, -1) < 0)
				continue;   // a signal
			if (go_round(state) < 0) {
				remove_name(state);
				return;
			}
		}
	} while (retire(state));
}

_Noreturn static void live(const struct keeper *keeper, int server)
{
	static struct state state = { .mount = -1, .anchor = ROOTFS_NONE };
	const int kept[] = { keeper->dir, keeper->listener, keeper->control, server };
	struct rlimit files;
	struct stat facts;

	detach_settle_child("bundler-keeper", kept, sizeof kept / sizeof *kept);
	// a descriptor for each member
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	state.keeper = *keeper;
	state.uid = geteuid();
	state.gid = getegid();
	if (fstatat(keeper->dir, keeper->name, &facts, AT_SYMLINK_NOFOLLOW) == 0)
		state.ino = facts.st_ino;
	fcntl(keeper->listener, F_SETFL, O_NONBLOCK);
	watch(&state, WATCH_SERVER, server);
	watch(&state, WATCH_CONTROL, keeper->control);
	watch(&state, WATCH_LISTENER, keeper->listener);
	keep(&state);
	meeting_sweep(keeper->dir);
	meeting_tidy(keeper->dir);
	_exit(0);
}

static void close_keeper(struct keeper *keeper)
{
	close_fd(&keeper->dir);
	close_fd(&keeper->listener);
	close_fd(&keeper->control);
}

void keeper_start(struct keeper *keeper)
{
	OWN_FD server = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t child;

	// nobody waits for it
	signal(SIGCHLD, SIG_IGN);
	child = server < 0 ? -1 : fork();
	if (child == 0)
		live(keeper, server);
	if (child < 0)
		keeper_give_up(keeper);
	close_keeper(keeper);
}

void keeper_give_up(struct keeper *keeper)
{
	unlinkat(keeper->dir, keeper->name, 0);
	close_keeper(keeper);
}
