// SPDX-License-Identifier: Apache-2.0
// Loop devices (loop(4)).
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "loop.h"

// LOOP_CONFIGURE is Linux 5.8: older ones need two calls, with a moment between them in which the whole file shows.
static int configure(int device, int file, uint64_t offset, uint64_t size)
{
	struct loop_config config = {
		.fd = (uint32_t)file,
		.info = {.lo_offset = offset, .lo_sizelimit = size, .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR},
	};
	int error;

	if (ioctl(device, LOOP_CONFIGURE, &config) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOTTY)
		return -1;
	if (ioctl(device, LOOP_SET_FD, file) < 0)
		return -1;
	if (ioctl(device, LOOP_SET_STATUS64, &config.info) == 0)
		return 0;
	error = errno;
	ioctl(device, LOOP_CLR_FD);
	errno = error;
	return -1;
}

int loop_attach(int file, uint64_t offset, uint64_t size, char device[32], struct fault *why)
{
	OWN_FD control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0) {
		fault(why, errno, "open /dev/loop-control");
		return fault_hint(why, "sudo modprobe loop, or do without BUNDLER_DRIVER=kernel");
	}
	// between asking for a free device and taking it another process may have been faster
	for (int tries = 0; tries < 100; tries++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE), fd;
		if (number < 0)
			return fault(why, errno, "get a free loop device");
		snprintf(device, 32, "/dev/loop%d", number);
		fd = open(device, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return fault(why, errno, "open %s", device);
		if (configure(fd, file, offset, (size + 511) & ~UINT64_C(511)) == 0)
			return fd;
		if (errno != EBUSY) {
			fault(why, errno, "attach the image to %s", device);
			close(fd);
			return -1;
		}
		close(fd);
	}
	return fault(why, EBUSY, "attach the image to a loop device");
}
