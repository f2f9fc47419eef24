// SPDX-License-Identifier: Apache-2.0
// A stand-in for nvidia-smi: lists what libnvidia-ml.so.1, which it loads as the real one does, tells. -L is what it always does. The status
// is 12 without the library and 6 without a GPU, as nvidia-smi(1) says.
#include "nvml.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static struct {
#define MEMBER(name, parameters) nvmlReturn (*name) parameters;
	NVML_FUNCTIONS(MEMBER)
#undef MEMBER
} nvml;

static int load_library(void)
{
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
	if (!library) {
		printf("NVIDIA-SMI couldn't find libnvidia-ml.so: %s\n", dlerror());
		return -1;
	}
	int absent = 0;
#define LOAD(name, parameters) absent |= !(nvml.name = (nvmlReturn(*) parameters)dlsym(library, #name));
	NVML_FUNCTIONS(LOAD)
#undef LOAD
	return absent || nvml.nvmlInit_v2() != NVML_SUCCESS ? -1 : 0;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	if (argc > 2 || (argc == 2 && strcmp(argv[1], "-L") != 0)) {
		fputs("usage: nvidia-smi [-L]\n", stderr);
		return 2;
	}
	if (load_library() < 0)
		return 12;
	nvml.nvmlDeviceGetCount_v2(&count);
	for (unsigned i = 0; i < count; i++) {
		nvmlDevice device;
		char name[64], uuid[64];
		if (nvml.nvmlDeviceGetHandleByIndex_v2(i, &device) != NVML_SUCCESS || nvml.nvmlDeviceGetName(device, name, sizeof name) != NVML_SUCCESS ||
			nvml.nvmlDeviceGetUUID(device, uuid, sizeof uuid) != NVML_SUCCESS)
			return 255;
		printf("GPU %u: %s (UUID: %s)\n", i, name, uuid);
	}
	nvml.nvmlShutdown();
	if (count > 0)
		return 0;
	puts("No devices found.");
	return 6;
}
