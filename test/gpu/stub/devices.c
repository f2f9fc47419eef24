// SPDX-License-Identifier: Apache-2.0
#include "devices.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char proc_dir[] = "/proc/driver/nvidia/gpus";

// The rest of a line "KEY: VALUE", or NULL.
static const char *value_of(const char *line, const char *key)
{
	size_t length = strlen(key);
	if (strncmp(line, key, length) != 0 || line[length] != ':')
		return NULL;
	return line + length + 1 + strspn(line + length + 1, " \t");
}

// Takes over what a file "information" says, when it is about the device.
static void read_information(struct stub_device *device, const char *bus_id)
{
	char path[PATH_MAX], line[256];
	struct stub_device found = *device;
	int minor = -1;
	snprintf(path, sizeof path, "%s/%s/information", proc_dir, bus_id);
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		const char *value;
		if ((value = value_of(line, "Model")))
			snprintf(found.name, sizeof found.name, "%s", value);
		else if ((value = value_of(line, "GPU UUID")))
			snprintf(found.uuid, sizeof found.uuid, "%s", value);
		else if ((value = value_of(line, "Device Minor")))
			minor = atoi(value);
	}
	fclose(file);
	snprintf(found.bus_id, sizeof found.bus_id, "%.31s", bus_id);
	// The real file hides the UUID until the GPU is used.
	if (strchr(found.uuid, '?'))
		memcpy(found.uuid, device->uuid, sizeof found.uuid);
	if (minor == device->minor)
		*device = found;
}

static void look_in_proc(struct stub_device *device)
{
	DIR *dir = opendir(proc_dir);
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (*entry->d_name != '.')
			read_information(device, entry->d_name);
	closedir(dir);
}

int find_devices(struct stub_device devices[MAX_DEVICES])
{
	const char *dir = getenv("STUB_GPU_DIR");
	int count = 0;
	for (int minor = 0; minor < MAX_DEVICES; minor++) {
		char path[PATH_MAX];
		snprintf(path, sizeof path, "%s/nvidia%d", dir ? dir : "/dev", minor);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		close(fd);
		struct stub_device *device = &devices[count++];
		*device = (struct stub_device){ .minor = minor, .name = "Stub" };
		snprintf(device->uuid, sizeof device->uuid, "GPU-00000000-0000-4000-8000-0000000000%02x", (unsigned)minor);
		snprintf(device->bus_id, sizeof device->bus_id, "0000:%02x:00.0", (unsigned)minor + 1);
		look_in_proc(device);
	}
	return count;
}
