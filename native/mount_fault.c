// SPDX-License-Identifier: Apache-2.0
// mount(2) reuses errnos for meanings of its own; strerror's words mislead there ("No space left on device" is a limit on mounts).
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "mount_fault.h"

static const char *explain_eperm(const char *type)
{
	if (strcmp(type, "proc") == 0)
		return "a new proc needs a pid namespace of its own and a host /proc that nothing masks; bind the host's /proc instead";
	if (strcmp(type, "sysfs") == 0)
		return "a new sysfs needs a network namespace of its own; bind the host's /sys instead";
	if (strcmp(type, "mqueue") == 0)
		return "a new mqueue needs an ipc namespace of its own; bind the host's /dev/mqueue instead";
	if (strcmp(type, "overlay") == 0)
		return "overlay in a user namespace needs Linux 5.11 or newer; run without --rw, or with BUNDLER_DRIVER=extract";
	if (strcmp(type, "fuse") == 0)
		return "FUSE in a user namespace needs Linux 4.18 or newer; BUNDLER_DRIVER=extract does without";
	if (strcmp(type, "remount") == 0 || strcmp(type, "bind") == 0)
		return "restrictions that the host put on this mount cannot be taken away";
	if (strcmp(type, "tmpfs") == 0)
		return "mounting is denied here: a container or a seccomp filter around this process (see Seccomp in /proc/self/status)";
	return "this mount needs privileges that a user namespace does not give, or a seccomp filter denies it";
}

static const char *explain_einval(const char *type)
{
	if (strcmp(type, "bind") == 0)
		return "the source has mounts below it that the host has locked: use rbind";
	if (strcmp(type, "move") == 0)
		return "only a mount made here, below a parent that is not shared, can be moved";
	if (strcmp(type, "remount") == 0 || strcmp(type, "umount") == 0)
		return "nothing is mounted there, or the host has locked it";
	if (strcmp(type, "overlay") == 0)
		return "the upper directory's file system cannot hold an overlay (it needs user xattrs and d_type), or it is in use";
	if (strcmp(type, "squashfs") == 0)
		return "the image is damaged, or this kernel's squashfs lacks its compressor; do without BUNDLER_DRIVER=kernel";
	if (strcmp(type, "propagation") == 0)
		return "the root directory is not a mount: leave the chroot around this process";
	return "a mount option is not known to this kernel";
}

static const char *explain(int error, const char *type)
{
	switch (error) {
	case EPERM:
		return explain_eperm(type);
	case EINVAL:
		return explain_einval(type);
	case EACCES:
		return "a security policy (AppArmor on Ubuntu 23.10 and newer) denies mounts in user namespaces: "
			"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
	case ENOSPC:
		return "the limit on mounts in a namespace is reached: sudo sysctl -w fs.mount-max=100000";
	case ENODEV:
		return "this kernel does not have the file system (a module may be missing: sudo modprobe)";
	case EROFS:
		return "the root is read-only: use --rw, or mount on a path that the image has";
	case ENOTDIR:
		return "one of source and mountpoint is a directory and the other is not";
	case ELOOP:
		return "the path leads through a loop of symlinks or through a link in /proc";
	case ENOTBLK:
		return "the source must be a block device";
	default:
		return NULL;
	}
}

int mount_fault(struct fault *why, int error, const char *type, const char *format, ...)
{
	char text[sizeof why->text];
	const char *hint = explain(error, type);
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	fault(why, error, "%s", text);
	if (hint)
		fault_hint(why, "%s", hint);
	return -1;
}
