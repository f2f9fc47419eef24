// SPDX-License-Identifier: Apache-2.0
// The supervisor: the visible process beside a command that it cannot become.
#include "supervise.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "descriptors.h"
#include "detach.h"
#include "supervise_line.h"

struct supervisor {
	const struct supervise_orders *orders;
	pid_t child;
	int line, signals;
	bool init_ready;
	int told;         // the command's wait status by its init; -1: not told
	int cause;        // the signal whose effect we brought about with SIGKILL or SIGSTOP; 0: none
};

enum effect { EFFECT_NONE, EFFECT_DELIVER, EFFECT_END, EFFECT_STOP };

static bool read_mask(const char *status, const char *name, int number)
{
	const char *at = strstr(status, name);

	return at && strtoull(at + strlen(name), NULL, 16) >> (number - 1) & 1;
}

static enum effect default_effect(int number)
{
	switch (number) {
	case SIGCHLD:
	case SIGURG:
	case SIGWINCH:
		return EFFECT_NONE;
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return EFFECT_STOP;
	default:
		return EFFECT_END;
	}
}

// What a signal must do to the child: its handling is its own, but process 1 does not get what it does not handle. Masks: proc_pid_status(5).
static enum effect find_effect(pid_t child, int number)
{
	static char status[64 << 10];   // the line of groups may be long
	char path[40];
	OWN_FD fd = -1;
	ssize_t size;

	if (number == SIGCONT)
		return EFFECT_DELIVER;   // whatever its handling, it continues
	snprintf(path, sizeof path, "/proc/%d/status", (int)child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? -1 : read(fd, status, sizeof status - 1);
	if (size <= 0)
		return EFFECT_DELIVER;
	status[size] = 0;
	if (!strstr(status, "\nSigCgt:"))
		return EFFECT_DELIVER;
	if (read_mask(status, "\nSigBlk:", number) || read_mask(status, "\nSigCgt:", number))
		return EFFECT_DELIVER;
	return read_mask(status, "\nSigIgn:", number) ? EFFECT_NONE : default_effect(number);
}

// What the terminal causes is sent by the kernel to a whole process group, so the child has had it when it is in ours.
static bool has_had(const struct supervisor *self, const struct signalfd_siginfo *info)
{
	switch (info->ssi_signo) {
	case SIGINT:
	case SIGQUIT:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGWINCH:
		return info->ssi_code == SI_KERNEL && getpgid(self->child) == getpgrp();
	default:
		return false;
	}
}

// A group that no job-control shell looks after is not stopped from the keyboard (POSIX: orphaned process group).
static bool is_orphaned(void)
{
	return getsid(getppid()) != getsid(0) || getpgid(getppid()) == getpgrp();
}

// A shell inside may have taken the terminal and died: nobody is in its foreground then, and the next of our group to read it would be stopped.
static void take_terminal_back(void)
{
	OWN_FD terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	pid_t group = terminal < 0 ? -1 : tcgetpgrp(terminal);

	if (group > 0 && group != getpgrp() && kill(-group, 0) < 0 && errno == ESRCH)
		tcsetpgrp(terminal, getpgrp());   // SIGTTOU is blocked
}

// As the child, by the same signal; returns when somebody continues us.
static void stop(struct supervisor *self, int number)
{
	sigset_t one;

	if (number == SIGSTOP && self->cause)
		number = self->cause;
	self->cause = 0;
	signal(number, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, number);
	kill(getpid(), number);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	sigprocmask(SIG_BLOCK, &one, NULL);
}

_Noreturn static void end_as(int status)
{
	const struct rlimit no_core = {0, 0};
	sigset_t one;

	take_terminal_back();
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	// the command's own core is enough
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(WTERMSIG(status), SIG_DFL);
	kill(getpid(), WTERMSIG(status));
	sigemptyset(&one);
	sigaddset(&one, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	_exit(128 + WTERMSIG(status));   // we are process 1 ourselves
}

static void hear(struct supervisor *self)
{
	struct line_message message;
	int got = 0;

	while (self->line >= 0 && (got = line_receive(self->line, &message)) > 0) {
		if (message.kind == LINE_READY)
			self->init_ready = true;
		else if (message.kind == LINE_STOPPED)
			stop(self, message.value);
		else if (message.kind == LINE_ENDED)
			self->told = message.value;
	}
	if (got < 0)
		close_fd(&self->line);   // exec closes it where there is no init
}

static bool tell_init(const struct supervisor *self, int number)
{
	if (self->init_ready)
		line_send(self->line, LINE_SIGNAL, number, number == SIGTERM && self->orders->term_signal ? self->orders->term_signal : number);
	return self->init_ready;
}

static void pass_on(struct supervisor *self, const struct signalfd_siginfo *info)
{
	int number = (int)info->ssi_signo, as = number == SIGTERM && self->orders->term_signal ? self->orders->term_signal : number;

	if (tell_init(self, number))
		return;
	switch (find_effect(self->child, as)) {
	case EFFECT_NONE:
		return;
	case EFFECT_DELIVER:
		// it may be an init by now, which blocks everything once it has said so
		hear(self);
		if (!tell_init(self, number) && !has_had(self, info))
			kill(self->child, as);
		return;
	case EFFECT_END:
		self->cause = number;
		kill(self->child, SIGKILL);
		return;
	case EFFECT_STOP:
		if (!is_orphaned()) {
			self->cause = number;
			kill(self->child, SIGSTOP);
		}
		return;
	}
}

static void look(struct supervisor *self)
{
	int status = 0;
	pid_t pid;

	// others are what the start has left: a planner that took its time
	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | __WALL)) > 0 && pid != self->child)
		;
	if (pid != self->child)
		return;
	if (WIFSTOPPED(status)) {
		stop(self, WSTOPSIG(status));
		return;
	}
	// what the init said last is still to be read
	hear(self);
	if (self->told >= 0)
		end_as(self->told);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && self->cause)
		status = self->cause;   // the wait status of a death by that signal
	end_as(status);
}

_Noreturn static void watch(struct supervisor *self)
{
	struct pollfd ready[2];
	struct signalfd_siginfo info;

	for (;;) {
		ready[0] = (struct pollfd){.fd = self->signals, .events = POLLIN};
		ready[1] = (struct pollfd){.fd = self->line, .events = POLLIN};   // a negative one is passed over
		poll(ready, 2, -1);
		hear(self);
		while (read(self->signals, &info, sizeof info) == sizeof info) {
			if (info.ssi_signo != SIGCHLD)
				pass_on(self, &info);
		}
		look(self);
	}
}

_Noreturn static void supervise(const struct supervise_orders *orders, pid_t child, int line)
{
	struct supervisor self = {.orders = orders, .child = child, .line = line, .told = -1};
	sigset_t all;

	if (orders->parent_death_signal) {
		prctl(PR_SET_PDEATHSIG, orders->parent_death_signal, 0, 0, 0);
		if (getppid() != orders->parent)
			kill(getpid(), orders->parent_death_signal);   // it died while the setting was away
	}
	if (orders->finish)
		orders->finish(orders->arg);
	close_descriptors(0, &line, 1);
	rename_process(NULL);
	if (chdir("/") < 0) {
		// it stays where it is
	}
	sigfillset(&all);
	self.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (self.signals < 0) {
		kill(child, SIGKILL);
		_exit(EXIT_OWN_FAILURE);
	}
	watch(&self);
}

int supervise_fork(const struct supervise_orders *orders, int *line, struct fault *why)
{
	struct signals_before before;
	int pair[2], error;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(why, errno, "make a socket for the supervisor");
	signals_hold(&before);
	child = fork();
	if (child > 0) {
		close(pair[1]);
		supervise(orders, child, pair[0]);
	}
	error = errno;
	close(pair[0]);
	if (child < 0) {
		signals_restore(&before);
		close(pair[1]);
		fault(why, error, "start a process in the new process namespace");
		return error == EAGAIN ? fault_hint(why, "the limit on processes is reached (ulimit -u, or pids.max of the cgroup); raise it or end some") : -1;
	}
	*line = pair[1];
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (!supervise_lives(*line))
		_exit(128 + SIGKILL);
	signals_restore(&before);
	return 0;
}
