// SPDX-License-Identifier: Apache-2.0
// A second process with the same descriptors (CLONE_FILES of clone(2)): it is told the number of one and answers with what the kernel tells it,
// for that depends on the user namespace of whoever asks.
#include "walk_owners.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fault.h"

enum { MAX_CAPABILITY = 64 };        // linux/capability.h has 24 bytes in its newest revision
struct question { int fd, about_capability; };
struct answer { int error; uid_t uid; gid_t gid; ssize_t size; uint8_t value[MAX_CAPABILITY]; };

static ssize_t receive(int socket, void *data, size_t size) {
	ssize_t done;
	do
		done = recv(socket, data, size, 0);
	while (done < 0 && errno == EINTR);
	return done;
}

static struct answer find_answer(const struct question *question) {
	struct answer answer = { 0 };
	struct stat st;
	if (question->about_capability) {
		answer.size = fgetxattr(question->fd, "security.capability", answer.value, sizeof answer.value);
		answer.error = answer.size < 0 ? errno : 0;
	} else if (fstat(question->fd, &st)) {
		answer.error = errno;
	} else {
		answer.uid = st.st_uid;
		answer.gid = st.st_gid;
	}
	return answer;
}

// The descriptors are shared, so no end of the socket tells that the other process has gone: the kernel does.
static _Noreturn void answer_all(int socket, pid_t parent) {
	struct question question;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	while (receive(socket, &question, sizeof question) == sizeof question) {
		struct answer answer = find_answer(&question);
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

static int ask(const struct owners *owners, const struct question *question, struct answer *answer) {
	if (send(owners->socket, question, sizeof *question, MSG_NOSIGNAL) != sizeof *question)
		return -1;
	if (receive(owners->socket, answer, sizeof *answer) != sizeof *answer)
		answer->error = EIO;
	errno = answer->error;
	return answer->error ? -1 : 0;
}

int owners_tell(const struct owners *owners, int fd, struct stat *st) {
	struct answer answer;
	if (ask(owners, &(struct question){ fd, 0 }, &answer))
		return -1;
	st->st_uid = answer.uid;
	st->st_gid = answer.gid;
	return 0;
}

ssize_t owners_capability(const struct owners *owners, int fd, void *value, size_t size) {
	struct answer answer;
	if (ask(owners, &(struct question){ fd, 1 }, &answer))
		return -1;
	if ((size_t)answer.size > size) {
		errno = ERANGE;
		return -1;
	}
	memcpy(value, answer.value, (size_t)answer.size);
	return answer.size;
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
