// SPDX-License-Identifier: Apache-2.0
#include "passing.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control { struct cmsghdr head; char space[CMSG_SPACE(PASS_MAX * sizeof(int))]; };

int pass_send(int socket, const void *data, size_t size, const int *fd, unsigned count)
{
	union control control;
	struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t put;

	memset(&control, 0, sizeof control);
	if (count > 0) {
		message.msg_control = control.space;
		message.msg_controllen = CMSG_SPACE(count * sizeof *fd);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(count * sizeof *fd);
		memcpy(CMSG_DATA(&control.head), fd, count * sizeof *fd);
	}
	do
		put = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -1 : 0;
}

static void take_descriptors(const struct cmsghdr *head, int *fd, unsigned count)
{
	size_t found = (head->cmsg_len - CMSG_LEN(0)) / sizeof *fd;

	for (size_t i = 0; i < found; i++) {
		int one;
		memcpy(&one, CMSG_DATA(head) + i * sizeof one, sizeof one);
		if (i < count)
			fd[i] = one;
		else
			close(one);
	}
}

ssize_t pass_receive(int socket, void *data, size_t size, int *fd, unsigned count)
{
	union control control;
	struct iovec part = { .iov_base = data, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space };
	const struct cmsghdr *head;
	ssize_t got;

	for (unsigned i = 0; i < count; i++)
		fd[i] = -1;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	head = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
		take_descriptors(head, fd, count);
	return got;
}
