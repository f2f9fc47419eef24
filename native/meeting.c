// SPDX-License-Identifier: Apache-2.0
#include "meeting.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "fault.h"
#include "sha256.h"

enum { BACKLOG = 1024, PREFIX_SIZE = 15, LOCK_MS = 2000 };

// "share-HHHHHHHH-"
static void add_prefix(char name[MEETING_NAME_SIZE])
{
	struct utsname host;
	unsigned char digest[32];

	uname(&host);
	sha256_of(host.nodename, strlen(host.nodename), digest);
	snprintf(name, MEETING_NAME_SIZE, "share-%02x%02x%02x%02x-", digest[0], digest[1], digest[2], digest[3]);
}

void meeting_name(char name[MEETING_NAME_SIZE], const unsigned char key[MEETING_KEY_SIZE])
{
	add_prefix(name);
	for (size_t i = 0; i < 16; i++)
		snprintf(name + PREFIX_SIZE + 2 * i, 3, "%02x", key[i]);
}

static void set_address(struct sockaddr_un *address, int dir, const char *name)
{
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dir, name);
}

int meeting_connect(int dir, const char *name, int wait_ms)
{
	struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };
	struct sockaddr_un address;
	OWN_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int connected;

	if (fd < 0)
		return -1;
	// the wait of connect(2) for a full queue, too (unix(7) says nothing of it; net/unix/af_unix.c)
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	set_address(&address, dir, name);
	connected = fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return -1;
	fd = -1;
	return connected;
}

int meeting_listen(int dir, const char *name)
{
	struct sockaddr_un address;
	OWN_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int listening = fd;

	// the mode of the file that bind makes
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return -1;
	set_address(&address, dir, name);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return -1;
	if (listen(fd, BACKLOG) < 0) {
		int error = errno;
		unlinkat(dir, name, 0);
		errno = error;
		return -1;
	}
	fd = -1;
	return listening;
}

int meeting_lock(int dir, int wait_ms)
{
	const struct timespec pause = { 0, 1000000 };

	for (int waited = 0; flock(dir, LOCK_EX | LOCK_NB) < 0; waited++) {
		// one that was stopped while it held the lock must not stop us
		if ((errno != EWOULDBLOCK && errno != EINTR) || waited >= wait_ms)
			return 0;
		nanosleep(&pause, NULL);
	}
	return 1;
}

void meeting_unlock(int dir)
{
	flock(dir, LOCK_UN);
}

static void remove_refused(int dir, const char *name)
{
	int fd = meeting_connect(dir, name, 1);

	if (fd < 0 && errno == ECONNREFUSED)
		unlinkat(dir, name, 0);
	close_fd(&fd);
}

void meeting_sweep(int dir)
{
	char prefix[MEETING_NAME_SIZE];
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!list) {
		close_fd(&fd);
		return;
	}
	add_prefix(prefix);
	while ((entry = readdir(list))) {
		if (strncmp(entry->d_name, prefix, PREFIX_SIZE) != 0)
			continue;
		// locked, so that no name is taken away between its bind(2) and its listen(2)
		if (meeting_lock(fd, LOCK_MS)) {
			remove_refused(fd, entry->d_name);
			meeting_unlock(fd);
		}
	}
	closedir(list);
}

// By its parent's descriptor: where we are, something else may be mounted on the way to it.
void meeting_tidy(int dir)
{
	char link[32], path[PATH_MAX], *name;
	OWN_FD parent = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	ssize_t size;

	snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
	size = readlink(link, path, sizeof path - 1);
	if (parent < 0 || size <= 0)
		return;
	path[size] = 0;
	name = strrchr(path, '/');
	if (name)
		unlinkat(parent, name + 1, AT_REMOVEDIR);
}
