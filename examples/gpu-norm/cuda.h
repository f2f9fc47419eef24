// SPDX-License-Identifier: Apache-2.0
// The part of the CUDA driver API that these programs use, declared here so that no toolkit is needed to build them. libcuda.so.1 belongs
// to the host's driver and is loaded when the program starts. Names, types and numbers: CUDA Driver API reference.
#pragma once
#include <stddef.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct cuda_context *CUcontext;
typedef struct cuda_module *CUmodule;
typedef struct cuda_function *CUfunction;
typedef struct cuda_stream *CUstream;
typedef struct cuda_event *CUevent;
typedef struct { unsigned char bytes[16]; } CUuuid;

enum {
	CUDA_SUCCESS = 0,
	CUDA_ERROR_NO_DEVICE = 100,
	CU_ATTRIBUTE_MULTIPROCESSORS = 16,
	CU_ATTACH_GLOBAL = 1,
	CU_JIT_WALL_TIME_MS = 2,
	CU_JIT_INFO_LOG = 3,
	CU_JIT_INFO_LOG_SIZE = 4,
	CU_JIT_ERROR_LOG = 5,
	CU_JIT_ERROR_LOG_SIZE = 6,
	CU_JIT_LOG_VERBOSE = 12,
};

// What a program calls it, its symbol, its parameters. Symbols with _v2 take 64-bit sizes and pointers.
#define CUDA_FUNCTIONS(F) \
	F(cuInit, cuInit, (unsigned flags)) \
	F(cuDriverGetVersion, cuDriverGetVersion, (int *version)) \
	F(cuGetErrorName, cuGetErrorName, (CUresult result, const char **name)) \
	F(cuGetErrorString, cuGetErrorString, (CUresult result, const char **text)) \
	F(cuDeviceGetCount, cuDeviceGetCount, (int *count)) \
	F(cuDeviceGet, cuDeviceGet, (CUdevice *device, int index)) \
	F(cuDeviceGetName, cuDeviceGetName, (char *name, int size, CUdevice device)) \
	F(cuDeviceGetUuid, cuDeviceGetUuid, (CUuuid *uuid, CUdevice device)) \
	F(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, (char *id, int size, CUdevice device)) \
	F(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *value, int attribute, CUdevice device)) \
	F(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device)) \
	F(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *context, CUdevice device)) \
	F(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext context)) \
	F(cuCtxSynchronize, cuCtxSynchronize, (void)) \
	F(cuModuleLoadDataEx, cuModuleLoadDataEx, (CUmodule *module, const void *image, unsigned count, int *options, void **values)) \
	F(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *function, CUmodule module, const char *name)) \
	F(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *memory, size_t bytes)) \
	F(cuMemAllocManaged, cuMemAllocManaged, (CUdeviceptr *memory, size_t bytes, unsigned flags)) \
	F(cuMemFree, cuMemFree_v2, (CUdeviceptr memory)) \
	F(cuMemcpyHtoD, cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes)) \
	F(cuMemcpyDtoH, cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes)) \
	F(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)) \
	F(cuLaunchKernel, cuLaunchKernel, (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
		unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters, void **extra)) \
	F(cuEventCreate, cuEventCreate, (CUevent *event, unsigned flags)) \
	F(cuEventRecord, cuEventRecord, (CUevent event, CUstream stream)) \
	F(cuEventSynchronize, cuEventSynchronize, (CUevent event)) \
	F(cuEventElapsedTime, cuEventElapsedTime, (float *ms, CUevent start, CUevent end))

// Exported since CUDA 11.4: the UUID of a MIG device is its own, not that of its GPU.
typedef CUresult (*get_uuid_function)(CUuuid *uuid, CUdevice device);

struct cuda_driver {
#define MEMBER(name, symbol, parameters) CUresult (*name) parameters;
	CUDA_FUNCTIONS(MEMBER)
#undef MEMBER
	get_uuid_function get_own_uuid;
};

extern struct cuda_driver cuda;

// The status where there is no driver: what test harnesses take for "skipped".
enum { STATUS_NO_DRIVER = 77 };

// Loads libcuda.so.1 and calls cuInit, or says what is missing and exits: 77 without the library, no_gpu_status without a GPU, else 1.
void start_cuda(int no_gpu_status);

// Makes the context of the first GPU the current one. It is the one that CUDA's libraries use, too.
CUdevice use_first_gpu(void);

// Loads PTX text, which the driver compiles for the GPU that there is, and finds a kernel in it.
CUfunction load_kernel(const char *ptx, const char *name);

// Does nothing after success; else says which call failed, why and what may help, and exits with 1.
void check_call(CUresult result, const char *call);
#define CALL(name, ...) check_call(cuda.name(__VA_ARGS__), #name)

// Runs a kernel of one dimension.
void launch(CUfunction kernel, unsigned blocks, unsigned threads, void **parameters);

// Puts a text file into the program as a string. The assembler looks for it in the directories of -I.
#define EMBED_TEXT(name, file) \
	__asm__(".pushsection .rodata\n.globl " #name "\n.hidden " #name "\n" #name ":\n.incbin \"" file "\"\n.byte 0\n.popsection\n"); \
	extern const char name[] __attribute__((visibility("hidden")))
