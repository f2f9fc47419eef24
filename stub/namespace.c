// SPDX-License-Identifier: Apache-2.0
#include "namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

// writes in one call, as user_namespaces(7) demands of the maps
static int put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t done = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return done < 0 ? -1 : 0;
}

const char *enter_user_namespace(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();
	if (unshare(CLONE_NEWUSER))
		return "unshare";
	// A kernel before 3.19 has no setgroups file and asks for none.
	if (put_file("/proc/self/setgroups", "deny") && (errno != ENOENT || access("/proc/self/uid_map", F_OK)))
		return "setgroups";
	snprintf(map, sizeof map, "%u %u 1\n", uid, uid);
	if (put_file("/proc/self/uid_map", map))
		return "uid_map";
	snprintf(map, sizeof map, "%u %u 1\n", gid, gid);
	if (put_file("/proc/self/gid_map", map))
		return "gid_map";
	return NULL;
}

const char *enter_mount_namespace(void)
{
	if (unshare(CLONE_NEWNS))
		return "unshare";
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL))
		return "propagation";
	return NULL;
}

const char *mount_scratch(const char *data, const char **base)
{
	// /proc/tty first: it is there wherever /proc is, and covering it hides no file that a user may have named.
	static const char *const places[] = { "/proc/tty", "/proc/bus", "/mnt", "/media", "/srv", "/run", "/dev/shm", "/dev", "/tmp" };
	int error = ENOENT;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		if (!mount("bundler", places[i], "tmpfs", MS_NOSUID | MS_NODEV, data)) {
			*base = places[i];
			return NULL;
		}
		if (errno != ENOENT && errno != ENOTDIR)
			error = errno;
	}
	errno = error;
	return "tmpfs";
}
