// SPDX-License-Identifier: Apache-2.0
// The part of NVML that the stub of nvidia-smi asks. (NVML API reference.)
#pragma once

typedef int nvmlReturn;
typedef struct stub_device *nvmlDevice;

enum { NVML_SUCCESS = 0, NVML_UNINITIALIZED = 1, NVML_INVALID_ARGUMENT = 2, NVML_NOT_FOUND = 6, NVML_INSUFFICIENT_SIZE = 7 };

#define NVML_FUNCTIONS(F) \
	F(nvmlInit_v2, (void)) \
	F(nvmlShutdown, (void)) \
	F(nvmlSystemGetDriverVersion, (char *version, unsigned size)) \
	F(nvmlDeviceGetCount_v2, (unsigned *count)) \
	F(nvmlDeviceGetHandleByIndex_v2, (unsigned index, nvmlDevice *device)) \
	F(nvmlDeviceGetName, (nvmlDevice device, char *name, unsigned size)) \
	F(nvmlDeviceGetUUID, (nvmlDevice device, char *uuid, unsigned size)) \
	F(nvmlDeviceGetMinorNumber, (nvmlDevice device, unsigned *minor))
