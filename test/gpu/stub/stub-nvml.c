// SPDX-License-Identifier: Apache-2.0
// A stand-in for libnvidia-ml.so.1 with the devices of devices.h.
#include "devices.h"
#include "nvml.h"
#include <stdio.h>
#include <string.h>

#define FUNCTION(name, parameters) nvmlReturn name parameters;
NVML_FUNCTIONS(FUNCTION)

static int device_count = -1;
static struct stub_device devices[MAX_DEVICES];

static nvmlReturn copy_text(char *to, unsigned size, const char *text)
{
	if (device_count < 0)
		return NVML_UNINITIALIZED;
	if (strlen(text) >= size)
		return NVML_INSUFFICIENT_SIZE;
	strcpy(to, text);
	return NVML_SUCCESS;
}

nvmlReturn nvmlInit_v2(void)
{
	device_count = find_devices(devices);
	return NVML_SUCCESS;
}

nvmlReturn nvmlShutdown(void)
{
	device_count = -1;
	return NVML_SUCCESS;
}

nvmlReturn nvmlSystemGetDriverVersion(char *version, unsigned size)
{
	return copy_text(version, size, "999.1");
}

nvmlReturn nvmlDeviceGetCount_v2(unsigned *count)
{
	if (device_count < 0)
		return NVML_UNINITIALIZED;
	*count = (unsigned)device_count;
	return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice *device)
{
	if (device_count < 0)
		return NVML_UNINITIALIZED;
	if (index >= (unsigned)device_count)
		return NVML_INVALID_ARGUMENT;
	*device = &devices[index];
	return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetName(nvmlDevice device, char *name, unsigned size)
{
	return copy_text(name, size, device->name);
}

nvmlReturn nvmlDeviceGetUUID(nvmlDevice device, char *uuid, unsigned size)
{
	return copy_text(uuid, size, device->uuid);
}

nvmlReturn nvmlDeviceGetMinorNumber(nvmlDevice device, unsigned *minor)
{
	*minor = (unsigned)device->minor;
	return device_count < 0 ? NVML_UNINITIALIZED : NVML_SUCCESS;
}
