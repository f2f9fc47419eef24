// SPDX-License-Identifier: Apache-2.0
// Overlay (Documentation/filesystems/overlayfs.rst of the kernel), with user.* xattrs, which a user namespace may write.
#include "overlay.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mount_fault.h"

static int make_staged(struct rootfs *rootfs, const char *name, mode_t mode)
{
	if (mkdirat(rootfs->staging, name, 0700) < 0 && errno != EEXIST)
		return -1;
	if (fchmodat(rootfs->staging, name, mode, 0) < 0)
		return -1;
	return openat(rootfs->staging, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int overlay_mount(struct rootfs *rootfs, const struct overlay *overlay, struct fault *why)
{
	static const char *const options[] = {",userxattr,xino=off", ",userxattr", ",xino=off", ""};
	OWN_FD own_upper = -1;
	OWN_FD own_work = -1;
	struct stat lower;
	char to[FD_PATH_SIZE], data[256];
	int upper = overlay->upper, work = overlay->work, error = 0;

	// the overlay's root shows the upper directory's mode, not the image's
	if ((upper < 0 || overlay->fresh) && fstat(rootfs->fd, &lower) < 0)
		return fault(why, errno, "look at the root filesystem");
	if (upper < 0)
		upper = own_upper = make_staged(rootfs, "upper", lower.st_mode & 07777);
	else if (overlay->fresh && chmod(fd_path(to, upper), lower.st_mode & 07777) < 0)
		return fault(why, errno, "set the mode of the overlay's directory");
	if (work < 0)
		work = own_work = make_staged(rootfs, "work", 0700);
	if (upper < 0 || work < 0)
		return fault(why, errno, "make the overlay's directories");
	fd_path(to, rootfs->fd);
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		snprintf(data, sizeof data, "lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d%s",
			rootfs->fd, upper, work, options[i]);
		if (mount("overlay", to, "overlay", MS_NOSUID | MS_NODEV, data) == 0)
			return rootfs_refresh(rootfs, why);
		if (i == 0)
			error = errno;
		// EINVAL: an option that this kernel does not know (userxattr is Linux 5.11); anything else would stay the same
		if (errno != EINVAL)
			break;
	}
	return mount_fault(why, error, "overlay", "mount a writable overlay over the root filesystem");
}
