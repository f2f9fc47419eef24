// SPDX-License-Identifier: Apache-2.0
// Runs a command on a terminal of its own: pty-run [-s ROWSxCOLUMNS] COMMAND [ARG]..
// What comes on stdin is typed, what the terminal shows goes to stdout. Exits as the command did, 128+N after a signal;
// 96 when the terminal did not get its settings back (echo or line mode are not what they were).
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

_Noreturn static void stop(const char *what)
{
	fprintf(stderr, "pty-run: %s: %s\n", what, strerror(errno));
	exit(99);
}

static void write_all(int fd, const char *data, ssize_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, (size_t)size);
		if (n < 0 && errno != EINTR)
			stop("write");
		if (n > 0)
			data += n, size -= n;
	}
}

// Relays until every holder of the terminal has closed it, or the command has ended and nothing is left to read.
static void relay(int master, pid_t child, int *status)
{
	char data[65536];
	int typing = 1, ended = 0;
	for (;;) {
		struct pollfd ready[2] = { { master, POLLIN, 0 }, { typing ? 0 : -1, POLLIN, 0 } };
		int n = poll(ready, 2, 50);
		if (n < 0 && errno != EINTR)
			stop("poll");
		if (!ended && waitpid(child, status, WNOHANG) == child)
			ended = 1;
		if (n > 0 && (ready[0].revents & (POLLIN | POLLHUP))) {
			ssize_t size = read(master, data, sizeof data);
			if (size > 0)
				write_all(1, data, size);
			else if (ended)
				return;
		} else if (n == 0 && ended) {
			return;
		}
		if (n > 0 && (ready[1].revents & (POLLIN | POLLHUP))) {
			ssize_t size = read(0, data, sizeof data);
			if (size > 0)
				write_all(master, data, size);
			else
				typing = 0;
		}
	}
}

int main(int argc, char **argv)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int at = 1, status = 0;
	if (argc > 3 && !strcmp(argv[1], "-s") && sscanf(argv[2], "%hux%hu", &size.ws_row, &size.ws_col) == 2)
		at = 3;
	if (at >= argc) {
		fputs("usage: pty-run [-s ROWSxCOLUMNS] COMMAND [ARG]..\n", stderr);
		return 99;
	}
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[64];
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, name, sizeof name))
		stop("open a terminal");
	// Held open here too, so that its settings can be looked at after the command.
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size) < 0)
		stop(name);
	struct termios before, after;
	tcgetattr(slave, &before);
	pid_t child = fork();
	if (child < 0)
		stop("fork");
	if (!child) {
		setsid();
		if (ioctl(slave, TIOCSCTTY, 0) < 0)
			stop("make the terminal ours");
		for (int fd = 0; fd < 3; fd++)
			dup2(slave, fd);
		execvp(argv[at], argv + at);
		stop(argv[at]);
	}
	relay(master, child, &status);
	tcgetattr(slave, &after);
	if (WIFEXITED(status) && !WEXITSTATUS(status) && (before.c_lflag ^ after.c_lflag) & (ECHO | ICANON | ISIG)) {
		fputs("pty-run: the terminal's settings were not put back\n", stderr);
		return 96;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
