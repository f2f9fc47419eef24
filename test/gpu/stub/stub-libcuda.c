// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcuda.so.1 on machines without a GPU: it has the devices of devices.h, 64 MiB of memory each, and runs kernels on the CPU.
//   STUB_CUDA_FAIL=cuMemAlloc_v2=2    makes that call return that error
//   STUB_CUDA_WRONG=1                 spoils the last number of all memory after each kernel
#include "cuda.h"
#include "devices.h"
#include "ptx.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_PTX = 218, NOT_FOUND = 500 };
enum { MAX_ALLOCATIONS = 64, MEMORY_BYTES = 64 << 20 };

struct cuda_event { struct timespec at; };

static int device_count = -1;
static CUcontext current;
static struct stub_device devices[MAX_DEVICES];
static struct { char *memory; size_t bytes; } allocations[MAX_ALLOCATIONS];

#define FUNCTION(name, symbol, parameters) CUresult symbol parameters;
CUDA_FUNCTIONS(FUNCTION)
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device);

// What a call returns before it does anything.
static CUresult begin(const char *call, int needs_context)
{
	const char *fail = getenv("STUB_CUDA_FAIL");
	size_t length = strlen(call);
	if (fail && strncmp(fail, call, length) == 0 && fail[length] == '=')
		return atoi(fail + length + 1);
	return device_count < 0 ? NOT_INITIALIZED : needs_context && !current ? INVALID_CONTEXT : CUDA_SUCCESS;
}
#define BEGIN(needs_context) \
	CUresult begun = begin(__func__, needs_context); \
	if (begun != CUDA_SUCCESS) \
		return begun
#define BEGIN_ON(device) \
	BEGIN(0); \
	if ((device) < 0 || (device) >= device_count) \
		return INVALID_DEVICE

CUresult cuInit(unsigned flags)
{
	device_count = find_devices(devices);
	BEGIN(0);
	return flags ? INVALID_VALUE : device_count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
	*version = 13000;
	return CUDA_SUCCESS;
}

static const char *text_of(CUresult result, int is_name)
{
	static const struct { CUresult result; const char *name, *text; } all[] = {
		{ CUDA_SUCCESS, "CUDA_SUCCESS", "no error" },
		{ INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument" },
		{ OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory" },
		{ NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error" },
		{ CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no device" },
		{ INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device" },
		{ INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid context" },
		{ INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "invalid PTX" },
		{ NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found" },
		{ 999, "CUDA_ERROR_UNKNOWN", "unknown error" },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i].result == result)
			return is_name ? all[i].name : all[i].text;
	return NULL;
}

CUresult cuGetErrorName(CUresult result, const char **name)
{
	*name = text_of(result, 1);
	return *name ? CUDA_SUCCESS : INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult result, const char **text)
{
	*text = text_of(result, 0);
	return *text ? CUDA_SUCCESS : INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *count)
{
	BEGIN(0);
	*count = device_count;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int index)
{
	BEGIN_ON(index);
	*device = index;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
	BEGIN_ON(device);
	snprintf(name, (size_t)size, "%s", devices[device].name);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
	BEGIN_ON(device);
	const char *digits = devices[device].uuid + strlen("GPU-");
	for (int i = 0; i < 16; i++) {
		unsigned byte = 0;
		digits += *digits == '-';
		sscanf(digits, "%2x", &byte);
		uuid->bytes[i] = (unsigned char)byte;
		digits += 2;
	}
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
	return cuDeviceGetUuid(uuid, device);
}

CUresult cuDeviceGetPCIBusId(char *id, int size, CUdevice device)
{
	BEGIN_ON(device);
	snprintf(id, (size_t)size, "%s", devices[device].bus_id);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
	BEGIN_ON(device);
	if (attribute != CU_ATTRIBUTE_MULTIPROCESSORS)
		return INVALID_VALUE;
	*value = 1;
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
	BEGIN_ON(device);
	*bytes = MEMORY_BYTES;
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	BEGIN_ON(device);
	*context = (CUcontext)&devices[device];
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
	BEGIN(0);
	current = context;
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
	return begin(__func__, 1);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options, void **values)
{
	BEGIN(1);
	char own[256] = "", *log = own;
	size_t size = sizeof own;
	for (unsigned i = 0; i < count; i++) {
		if (options[i] == CU_JIT_ERROR_LOG)
			log = values[i];
		else if (options[i] == CU_JIT_ERROR_LOG_SIZE)
			size = (size_t)values[i];
	}
	*module = (CUmodule)parse_ptx(image, log, size);
	return *module ? CUDA_SUCCESS : INVALID_PTX;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
	BEGIN(1);
	struct ptx_module *ptx = (struct ptx_module *)module;
	for (int i = 0; i < ptx->kernel_count; i++)
		if (strcmp(ptx->kernels[i].name, name) == 0) {
			*function = (CUfunction)&ptx->kernels[i];
			return CUDA_SUCCESS;
		}
	return NOT_FOUND;
}

static CUresult allocate(CUdeviceptr *address, size_t bytes)
{
	for (int i = 0; i < MAX_ALLOCATIONS; i++)
		if (!allocations[i].memory) {
			char *memory = bytes && bytes <= MEMORY_BYTES ? malloc(bytes) : NULL;
			if (!memory)
				break;
			allocations[i].memory = memory;
			allocations[i].bytes = bytes;
			*address = (CUdeviceptr)(uintptr_t)memory;
			return CUDA_SUCCESS;
		}
	return OUT_OF_MEMORY;
}

CUresult cuMemAlloc_v2(CUdeviceptr *memory, size_t bytes)
{
	BEGIN(1);
	return allocate(memory, bytes);
}

CUresult cuMemAllocManaged(CUdeviceptr *memory, size_t bytes, unsigned flags)
{
	BEGIN(1);
	return flags == CU_ATTACH_GLOBAL ? allocate(memory, bytes) : INVALID_VALUE;
}

CUresult cuMemFree_v2(CUdeviceptr memory)
{
	BEGIN(1);
	for (int i = 0; i < MAX_ALLOCATIONS; i++)
		if ((CUdeviceptr)(uintptr_t)allocations[i].memory == memory) {
			free(allocations[i].memory);
			allocations[i].memory = NULL;
			return CUDA_SUCCESS;
		}
	return INVALID_VALUE;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
	BEGIN(1);
	memcpy((void *)(uintptr_t)to, from, bytes);
	return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
	BEGIN(1);
	memcpy(to, (void *)(uintptr_t)from, bytes);
	return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	BEGIN(1);
	(void)stream;
	memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
	unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters, void **extra)
{
	BEGIN(1);
	(void)stream;
	if (!grid_x || !block_x || block_x > 1024 || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || shared_bytes || extra)
		return INVALID_VALUE;
	run_ptx((struct ptx_kernel *)function, grid_x, block_x, parameters);
	for (int i = 0; getenv("STUB_CUDA_WRONG") && i < MAX_ALLOCATIONS; i++)
		if (allocations[i].memory)
			allocations[i].memory[allocations[i].bytes - 1] ^= 0x40;
	return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
	BEGIN(1);
	return flags == 0 && (*event = calloc(1, sizeof **event)) ? CUDA_SUCCESS : INVALID_VALUE;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
	BEGIN(1);
	(void)stream;
	clock_gettime(CLOCK_MONOTONIC, &event->at);
	return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event)
{
	(void)event;
	return begin(__func__, 1);
}

CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
	BEGIN(1);
	*ms = (float)((double)(end->at.tv_sec - start->at.tv_sec) * 1e3 + (double)(end->at.tv_nsec - start->at.tv_nsec) * 1e-6);
	return CUDA_SUCCESS;
}
