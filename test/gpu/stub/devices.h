// SPDX-License-Identifier: Apache-2.0
// The GPUs that the stubs of NVIDIA's libraries pretend to find.
#pragma once

enum { MAX_DEVICES = 16 };

struct stub_device {
	int minor;
	char name[64], uuid[64], bus_id[32];
};

// Fills in a device for each of /dev/nvidia0 to nvidia15 that can be opened for reading and writing, and returns their number. What
// /proc/driver/nvidia/gpus tells of a minor number is theirs, else "Stub", an UUID that ends in the minor number, and a made-up bus id.
// STUB_GPU_DIR takes the place of /dev.
int find_devices(struct stub_device devices[MAX_DEVICES]);
