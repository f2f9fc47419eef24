// SPDX-License-Identifier: Apache-2.0
// A second process with the same descriptors (CLONE_FILES of clone(2)): it is told the number of one and answers with what fstat(2) tells it,
// for that shows ids as they are in the user namespace of whoever asks.
#include "walk_owners.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

struct answer { int error; uid_t uid; gid_t gid; };

static ssize_t receive(int socket, void *data, size_t size) {
	ssize_t done;
	do
		done = recv(socket, data, size, 0);
	while (done < 0 && errno == EINTR);
	return done;
}

// The descriptors are shared, so no end of the socket tells that the other process has gone: the kernel does.
static _Noreturn void answer_all(int socket, pid_t parent) {
	int fd;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	while (receive(socket, &fd, sizeof fd) == sizeof fd) {
		struct stat st;
		struct answer answer = { 0 };
		if (fstat(fd, &st))
			answer.error = errno;
		else
			answer = (struct answer){ 0, st.st_uid, st.st_gid };
		if (send(socket, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer)
			break;
	}
	_exit(0);
}

int owners_start(struct owners *owners) {
	int pair[2];
	pid_t parent = getpid();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -1;
	long process = syscall(SYS_clone, (unsigned long)(CLONE_FILES | SIGCHLD), 0ul, 0ul, 0ul, 0ul);
	if (process == 0)
		answer_all(pair[1], parent);
	if (process < 0) {
		close_fd(&pair[0]);
		close_fd(&pair[1]);
		return -1;
	}
	// The other end is that process's as well: it stays open.
	*owners = (struct owners){ pair[0], (pid_t)process };
	return 0;
}

int owners_tell(const struct owners *owners, int fd, struct stat *st) {
	struct answer answer;
	if (send(owners->socket, &fd, sizeof fd, MSG_NOSIGNAL) != sizeof fd)
		return -1;
	if (receive(owners->socket, &answer, sizeof answer) != sizeof answer) {
		errno = EIO;
		return -1;
	}
	if (answer.error) {
		errno = answer.error;
		return -1;
	}
	st->st_uid = answer.uid;
	st->st_gid = answer.gid;
	return 0;
}

void owners_stop(struct owners *owners) {
	if (!owners->process)
		return;
	kill(owners->process, SIGKILL);
	while (waitpid(owners->process, NULL, 0) < 0 && errno == EINTR)
		;
	close_fd(&owners->socket);
	owners->process = 0;
}
