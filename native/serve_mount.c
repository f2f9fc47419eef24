// SPDX-License-Identifier: Apache-2.0
// The mounting side: mount(2) of a FUSE file system without fusermount, and handing the connection over.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include "passing.h"
#include "serve_parts.h"

#define UNPACK "unpack instead: BUNDLER_DRIVER=extract"
#define INSTEAD "or " UNPACK

static int receive_status(int socket, struct fault *why)
{
	struct serve_status status;
	ssize_t size;

	do
		size = recv(socket, &status, sizeof status, 0);
	while (size < 0 && errno == EINTR);
	if (size != (ssize_t)sizeof status) {
		fault(why, size < 0 ? errno : 0, "start the file server: it ended before it was ready");
		return fault_hint(why, "it may have been killed for memory; see the kernel's log, %s", INSTEAD);
	}
	if (!status.failed)
		return 0;
	*why = status.why;
	return -1;
}

static int fail_open(struct fault *why, int error)
{
	fault(why, error, "open /dev/fuse");
	switch (error) {
	case ENOENT:
		return fault_hint(why, "load the kernel's module (sudo modprobe fuse); in a container add --device /dev/fuse; %s", INSTEAD);
	case EACCES:
		return fault_hint(why, "it needs mode 0666 (sudo chmod 666 /dev/fuse) on a file system without nodev; %s", INSTEAD);
	case ENODEV:
	case ENXIO:
		return fault_hint(why, "the kernel has no FUSE: load its module (sudo modprobe fuse), %s", INSTEAD);
	case EPERM:
		return fault_hint(why, "a device cgroup denies it; start the surrounding container with --device /dev/fuse, %s", INSTEAD);
	default:
		return fault_hint(why, "%s", UNPACK);
	}
}

static int fail_mount(struct fault *why, int error, const char *target)
{
	fault(why, error, "mount the image through FUSE on %s", target);
	switch (error) {
	case EPERM:
		return fault_hint(why, "a kernel before 4.18 or a seccomp filter (as docker's) forbids it to plain users; %s", INSTEAD);
	case EACCES:
		return fault_hint(why, "AppArmor or SELinux forbids it; %s", INSTEAD);
	case ENODEV:
		return fault_hint(why, "the kernel has no FUSE: load its module (sudo modprobe fuse), %s", INSTEAD);
	case ENOSPC:
		return fault_hint(why, "the limit on mounts is reached (/proc/sys/fs/mount-max)");
	case EINVAL:
		return fault_hint(why, "is the user mapped in this user namespace? see /proc/self/uid_map; %s", INSTEAD);
	default:
		return fault_hint(why, "%s", UNPACK);
	}
}

int serve_mount(int socket, const char *target, unsigned long ms_flags, bool any_user, struct fault *why)
{
	OWN_FD owned = socket;
	OWN_FD fuse = -1;   // closed here in any case: whoever keeps it makes readers hang when the server dies
	char data[160];

	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		return fail_open(why, errno);
	if (receive_status(owned, why) != 0)
		return -1;
	snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s", fuse, (unsigned)getuid(), (unsigned)getgid(),
		any_user ? ",allow_other" : "");
	if (mount("bundler", target, "fuse.bundler", ms_flags | MS_RDONLY, data) != 0)
		return fail_mount(why, errno, target);
	if (pass_send(owned, "", 1, &fuse, 1) != 0) {
		fault(why, errno, "hand the mount to the file server");
		return fault_hint(why, "the server has ended; %s", UNPACK);
	}
	return 0;
}
