// SPDX-License-Identifier: Apache-2.0
// Namespaces: unshare(2), id maps, and what makes them useful (propagation, loopback).
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "mount_fault.h"
#include "plan.h"
#include "userns.h"

static int write_proc(const char *path, const char *text, struct fault *why)
{
	OWN_FD fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return fault(why, errno, "open %s", path);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return fault(why, errno, "write '%s' to %s", text, path);
	return 0;
}

// FACTS: the errnos by which hosts forbid user namespaces.
static void hint_unshare(struct fault *why)
{
	switch (why->error) {
	case ENOSPC:
		fault_hint(why, "the number of user namespaces is limited: sudo sysctl -w user.max_user_namespaces=15000");
		break;
	case EPERM:
		fault_hint(why, "user namespaces are forbidden here: sudo sysctl -w kernel.unprivileged_userns_clone=1, "
			"or leave the chroot or the container whose seccomp filter denies them");
		break;
	case EINVAL:
		fault_hint(why, "this kernel is built without that namespace (CONFIG_USER_NS and its like)");
		break;
	default:
		break;
	}
}

static void hint_map(struct fault *why)
{
	if (why->error == EPERM || why->error == EACCES)
		fault_hint(why, "a security policy (AppArmor on Ubuntu 23.10 and newer) takes the rights away: "
			"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
}

// A thread that was joined may not have left the kernel's thread group yet, and then unshare(2) answers EINVAL for a moment.
int userns_unshare(struct fault *why)
{
	const struct timespec pause = {0, 1000000};

	for (int tries = 0; unshare(CLONE_NEWUSER) < 0; tries++) {
		if (errno != EINVAL || tries == 50) {
			fault(why, errno, "create a user namespace");
			hint_unshare(why);
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

int userns_enter(const struct userns_map *map, struct fault *why)
{
	char text[64];

	if (userns_unshare(why) < 0)
		return -1;
	// Linux before 3.19 has no such file, and no need for it
	if (write_proc("/proc/self/setgroups", "deny", why) < 0 && why->error != ENOENT) {
		hint_map(why);
		return -1;
	}
	snprintf(text, sizeof text, "%u %u 1", map->inside_uid, map->outside_uid);
	if (write_proc("/proc/self/uid_map", text, why) < 0) {
		hint_map(why);
		return -1;
	}
	snprintf(text, sizeof text, "%u %u 1", map->inside_gid, map->outside_gid);
	if (write_proc("/proc/self/gid_map", text, why) < 0) {
		hint_map(why);
		return -1;
	}
	return 0;
}

// A fresh network namespace has lo down, and even 127.0.0.1 does not answer.
static int raise_loopback(struct fault *why)
{
	OWN_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo"};

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return fault(why, errno, "look at the loopback interface");
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return fault(why, errno, "bring the loopback interface up");
	return 0;
}

int namespaces_unshare(unsigned flags, struct fault *why)
{
	static const struct { unsigned flag; int clone; const char *name; } table[] = {
		{UNSHARE_MOUNT, CLONE_NEWNS, "mount"}, {UNSHARE_PID, CLONE_NEWPID, "pid"}, {UNSHARE_NET, CLONE_NEWNET, "network"}, {UNSHARE_IPC, CLONE_NEWIPC, "ipc"},
		{UNSHARE_UTS, CLONE_NEWUTS, "uts"}, {UNSHARE_CGROUP, CLONE_NEWCGROUP, "cgroup"},
	};
	int clone = 0;
	char names[64] = "";

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (!(flags & table[i].flag))
			continue;
		clone |= table[i].clone;
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", names[0] ? ", " : "", table[i].name);
	}
	if (unshare(clone) < 0) {
		fault(why, errno, "create new namespaces (%s)", names);
		if (errno == ENOSPC)
			fault_hint(why, "the number of namespaces is limited: see /proc/sys/user");
		else
			hint_unshare(why);
		return -1;
	}
	if (flags & UNSHARE_MOUNT && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return mount_fault(why, errno, "propagation", "keep our mounts apart from the host's");
	return flags & UNSHARE_NET ? raise_loopback(why) : 0;
}
