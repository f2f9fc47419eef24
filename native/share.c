// SPDX-License-Identifier: Apache-2.0
#include "share.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "fault.h"
#include "passing.h"
#include "transplant.h"

#define FUSE_MAGIC 0x65735546   // linux/magic.h
// A first member that is stopped between bind(2) and mount(2) holds the others up for as long.
enum { WAIT_MS = 5000, LOCK_MS = 2000, ATTEMPTS = 5 };
enum outcome { OUTCOME_JOINED, OUTCOME_AGAIN, OUTCOME_ALONE };

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// A directory that others could put their socket into is none to meet in; its owner is checked by the socket's too.
static int open_place(const char *path)
{
	struct stat facts;
	OWN_FD dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int opened = dir;

	if (dir < 0 || fstat(dir, &facts) < 0 || facts.st_uid != geteuid() || ((facts.st_mode & 022) && !(facts.st_mode & S_ISVTX)))
		return -1;
	dir = -1;
	return opened;
}

static int open_own_pidfd(void)
{
	return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

static int is_own(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

// The copy of the mount, or -1 with errno: EAGAIN for one that went away meanwhile.
static int receive_mount(int socket, int wait_ms)
{
	struct pollfd wait = { .fd = socket, .events = POLLIN };
	struct keeper_reply reply;
	struct statfs facts;
	OWN_FD mount = -1;
	int taken, ready;
	ssize_t size;

	do
		ready = poll(&wait, 1, wait_ms);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0) {
		errno = ETIMEDOUT;
		return -1;
	}
	size = pass_receive(socket, &reply, sizeof reply, &mount, 1);
	if (size <= 0) {
		errno = EAGAIN;
		return -1;
	}
	if (size != (ssize_t)sizeof reply || reply.wire != KEEPER_WIRE || mount < 0) {
		errno = EPROTO;
		return -1;
	}
	// asks the server, so that a dead one is met here, where we can still start our own
	if (fstatfs(mount, &facts) < 0)
		errno = errno == ENOTCONN || errno == ECONNABORTED ? EAGAIN : errno;
	else if (facts.f_type != FUSE_MAGIC)
		errno = EPROTO;
	else {
		taken = mount;
		mount = -1;
		return taken;
	}
	return -1;
}

static enum outcome join(struct share *share, int socket, int wait_ms)
{
	struct keeper_hello hello = { .wire = KEEPER_WIRE };
	OWN_FD pidfd = open_own_pidfd();

	if (pidfd < 0 || !is_own(socket))
		return OUTCOME_ALONE;
	memcpy(hello.key, share->keeper.key, sizeof hello.key);
	if (pass_send(socket, &hello, sizeof hello, &pidfd, 1) < 0)
		return errno == EPIPE || errno == ECONNRESET ? OUTCOME_AGAIN : OUTCOME_ALONE;
	share->mount = receive_mount(socket, wait_ms);
	return share->mount >= 0 ? OUTCOME_JOINED : errno == EAGAIN ? OUTCOME_AGAIN : OUTCOME_ALONE;
}

// Takes the name. A dead one's is replaced, under the lock, so that nobody replaces the replacement.
static int claim(struct keeper *keeper, bool is_stale)
{
	int locked = meeting_lock(keeper->dir, LOCK_MS), error;

	if (is_stale) {
		OWN_FD alive = meeting_connect(keeper->dir, keeper->name, 1);
		if (alive >= 0 || (errno != ECONNREFUSED && errno != ENOENT)) {
			if (locked)
				meeting_unlock(keeper->dir);
			errno = EADDRINUSE;
			return -1;
		}
		unlinkat(keeper->dir, keeper->name, 0);
	}
	keeper->listener = meeting_listen(keeper->dir, keeper->name);
	error = errno;
	if (locked)
		meeting_unlock(keeper->dir);
	errno = error;
	return keeper->listener < 0 ? -1 : 0;
}

// The first: makes the way to its keeper. 0 or -1.
static int prepare(struct share *share)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	share->control = pair[0];
	share->keeper.control = pair[1];
	return 0;
}

static enum outcome meet_once(struct share *share, int wait_ms, bool *is_first)
{
	struct keeper *keeper = &share->keeper;
	OWN_FD socket = meeting_connect(keeper->dir, keeper->name, wait_ms);

	if (socket >= 0)
		return join(share, socket, wait_ms);
	if (errno != ENOENT && errno != ECONNREFUSED)
		return OUTCOME_ALONE;
	if (claim(keeper, errno == ECONNREFUSED) < 0)
		return errno == EADDRINUSE ? OUTCOME_AGAIN : OUTCOME_ALONE;
	if (prepare(share) < 0) {
		keeper_give_up(keeper);
		return OUTCOME_ALONE;
	}
	*is_first = true;
	return OUTCOME_JOINED;
}

enum share_role share_meet(struct share *share, const char *dir, const unsigned char key[MEETING_KEY_SIZE])
{
	long end_ms = now_ms() + WAIT_MS;
	enum outcome outcome = OUTCOME_AGAIN;
	bool is_first = false;

	*share = (struct share)SHARE_NONE;
	share->keeper.dir = open_place(dir);
	if (share->keeper.dir < 0)
		return SHARE_ALONE;
	memcpy(share->keeper.key, key, MEETING_KEY_SIZE);
	meeting_name(share->keeper.name, key);
	for (int i = 0; i < ATTEMPTS && outcome == OUTCOME_AGAIN; i++) {
		long left_ms = end_ms - now_ms();
		if (left_ms <= 0)
			break;
		outcome = meet_once(share, (int)left_ms, &is_first);
	}
	if (outcome == OUTCOME_JOINED && is_first)
		return SHARE_FIRST;
	close_fd(&share->keeper.dir);
	return outcome == OUTCOME_JOINED ? SHARE_MEMBER : SHARE_ALONE;
}

void share_leave_to_server(struct share *share, bool is_started)
{
	if (!is_started) {
		close_fd(&share->control);
		keeper_give_up(&share->keeper);
		return;
	}
	close_fd(&share->keeper.dir);
	close_fd(&share->keeper.listener);
	close_fd(&share->keeper.control);
}

void share_offer(struct share *share, int root)
{
	struct keeper_hello hello = { .wire = KEEPER_WIRE };
	int passed[2] = { transplant_take(root, false), open_own_pidfd() };

	memcpy(hello.key, share->keeper.key, sizeof hello.key);
	if (passed[0] >= 0 && passed[1] >= 0)
		pass_send(share->control, &hello, sizeof hello, passed, 2);
	close_fd(&passed[0]);
	close_fd(&passed[1]);
	close_fd(&share->control);   // without a message it tells the keeper to end
}

int share_attach(struct share *share, int target, struct fault *why)
{
	int status = transplant_put(share->mount, target);

	if (status < 0) {
		fault(why, errno, "mount the image that another process of this job serves");
		fault_hint(why, "start without sharing: --no-share");
	}
	close_fd(&share->mount);
	return status;
}
