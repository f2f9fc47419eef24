// SPDX-License-Identifier: Apache-2.0
// The init: process 1 of a namespace, between the supervisor and the command.
#include <errno.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "descriptors.h"
#include "detach.h"
#include "supervise.h"
#include "supervise_line.h"

void line_send(int line, enum line_kind kind, int value, int as)
{
	struct line_message message = {kind, value, as};

	while (send(line, &message, sizeof message, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

int line_receive(int line, struct line_message *message)
{
	ssize_t size;

	do
		size = recv(line, message, sizeof *message, MSG_DONTWAIT);
	while (size < 0 && errno == EINTR);
	if (size == sizeof *message)
		return 1;
	return size < 0 && errno == EAGAIN ? 0 : -1;
}

void signals_hold(struct signals_before *before)
{
	const struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before->mask);
	sigaction(SIGCHLD, &plain, &before->child);
}

void signals_restore(const struct signals_before *before)
{
	sigaction(SIGCHLD, &before->child, NULL);
	sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

bool supervise_lives(int line)
{
	struct pollfd end = {.fd = line, .events = POLLRDHUP};

	return line < 0 || poll(&end, 1, 0) <= 0 || !(end.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

// The init is in the command's process group: a signal that was sent to the group is waiting here, blocked, and the command has had it. Members are
// signalled youngest first (kill_pgrp in the kernel), so it waits here before the supervisor, the eldest, can tell.
static bool was_for_group(int number)
{
	const struct timespec now = {0, 0};
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, number);
	return sigtimedwait(&one, NULL, &now) == number;
}

static void hear(int line, pid_t command)
{
	struct line_message message;
	int got;

	while ((got = line_receive(line, &message)) > 0) {
		if (message.kind == LINE_SIGNAL && !was_for_group(message.value))
			kill(command, message.as);
	}
	if (got < 0)
		_exit(128 + SIGKILL);
}

static void reap(int line, pid_t command)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | __WALL)) > 0) {
		if (pid != command)
			continue;
		if (WIFSTOPPED(status)) {
			line_send(line, LINE_STOPPED, WSTOPSIG(status), 0);
			continue;
		}
		line_send(line, LINE_ENDED, status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	}
}

_Noreturn static void look_after(int line, pid_t command)
{
	struct signalfd_siginfo info;
	struct pollfd ready[2];
	sigset_t child;
	int signals;

	close_descriptors(0, &line, 1);
	rename_process("bundler-init");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0 || chdir("/") < 0)
		_exit(EXIT_OWN_FAILURE);
	ready[0] = (struct pollfd){.fd = line, .events = POLLIN};
	ready[1] = (struct pollfd){.fd = signals, .events = POLLIN};
	for (;;) {
		reap(line, command);
		if (poll(ready, 2, -1) < 0 && errno != EINTR)
			_exit(EXIT_OWN_FAILURE);
		hear(line, command);
		while (read(signals, &info, sizeof info) > 0)
			;
	}
}

int supervise_init(int line, struct fault *why)
{
	struct signals_before before;
	pid_t command;

	// first, so that the supervisor never finds an init that blocks everything without knowing it for one
	line_send(line, LINE_READY, 0, 0);
	signals_hold(&before);
	command = fork();
	if (command > 0)
		look_after(line, command);
	signals_restore(&before);
	return command < 0 ? fault(why, errno, "start the command's process") : 0;
}
