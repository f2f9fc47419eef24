// SPDX-License-Identifier: Apache-2.0
// gpu-check list|vectoradd|managed|jit|throughput SECONDS: checks a GPU with NVIDIA's driver alone. The exit status is 0 when all is well,
// 77 where there is no libcuda.so.1, else 1.
#include "gpu-check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: gpu-check list|vectoradd|managed|jit|throughput SECONDS\n";

EMBED_TEXT(check_ptx, "gpu-check.ptx");

_Noreturn void stop_at_wrong_result(const char *what, size_t at, double found, double expected)
{
	fprintf(stderr, "gpu-check: %s: wrong result at %zu: %.9g instead of %.9g\n", what, at, found, expected);
	exit(1);
}

// The form of nvidia-smi -L; the driver names MIG devices after their slices: "NVIDIA A100-SXM4-40GB MIG 1g.5gb".
static void write_uuid(char *text, size_t size, const char *device_name, const CUuuid *uuid)
{
	int at = snprintf(text, size, "%s-", strstr(device_name, " MIG ") ? "MIG" : "GPU");
	for (int i = 0; i < 16; i++)
		at += snprintf(text + at, size - (size_t)at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid->bytes[i]);
}

static void list_devices(void)
{
	int count;
	CALL(cuDeviceGetCount, &count);
	for (int i = 0; i < count; i++) {
		CUdevice device;
		CUuuid uuid;
		size_t bytes;
		char name[256], uuid_text[64], bus_id[32];
		CALL(cuDeviceGet, &device, i);
		CALL(cuDeviceGetName, name, sizeof name, device);
		check_call((cuda.get_own_uuid ? cuda.get_own_uuid : cuda.cuDeviceGetUuid)(&uuid, device), "cuDeviceGetUuid");
		CALL(cuDeviceGetPCIBusId, bus_id, sizeof bus_id, device);
		CALL(cuDeviceTotalMem, &bytes, device);
		write_uuid(uuid_text, sizeof uuid_text, name, &uuid);
		printf("GPU %d: %s (UUID: %s) %s %zu MiB\n", i, name, uuid_text, bus_id, bytes >> 20);
	}
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	static const struct { const char *name; void (*check)(void); } checks[] = {
		{ "list", list_devices },
		{ "vectoradd", check_vectoradd },
		{ "managed", check_managed },
		{ "jit", check_jit },
	};
	// As nvidia-smi counts.
	setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 0);
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
		if (argc == 2 && strcmp(command, checks[i].name) == 0) {
			// Without its cache the driver must compile.
			setenv("CUDA_CACHE_DISABLE", "1", 1);
			start_cuda(1);
			checks[i].check();
			return 0;
		}
	double seconds = argc == 3 && strcmp(command, "throughput") == 0 ? atof(argv[2]) : 0;
	if (seconds <= 0) {
		fputs(usage, stderr);
		return 2;
	}
	start_cuda(1);
	measure_throughput(seconds);
	return 0;
}
