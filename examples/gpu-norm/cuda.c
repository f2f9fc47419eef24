// SPDX-License-Identifier: Apache-2.0
// Loads the driver's library and explains what goes wrong in it.
#include "cuda.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cuda_driver cuda;

// What may help, by the numbers of CUresult.
static const struct { CUresult result; const char *cure; } cures[] = {
	{ 2, "other programs hold the memory of the GPU: look at nvidia-smi on the host" },
	{ 3, "a device file may be missing: look at ls -l /dev/nvidia*, here and on the host" },
	{ 46, "another program holds the GPU alone (exclusive mode), or it is in MIG mode without an instance" },
	{ 100, "no GPU was given to this container, or its device file may not be opened: start it with --gpus all" },
	{ 101, "the device does not exist: look at CUDA_VISIBLE_DEVICES" },
	{ 221, "libnvidia-ptxjitcompiler.so.1 is missing: it belongs to the capability compute of NVIDIA_DRIVER_CAPABILITIES" },
	{ 304, "a device file or the driver's memory could not be opened: look at ls -l /dev/nvidia* and at the device control group" },
	{ 802, "GPUs with NVSwitch need a service of the host: systemctl start nvidia-fabricmanager" },
	{ 803, "the library and the kernel module are of different versions: reboot the host, or reload the module, after an update" },
	{ 804, "the libraries of /usr/local/cuda/compat work on data-centre GPUs only: use the driver's own" },
	{ 999, "the module nvidia-uvm may not be loaded; on the host, as root: nvidia-modprobe -u -c=0" },
};

void check_call(CUresult result, const char *call)
{
	if (result == CUDA_SUCCESS)
		return;
	const char *name = NULL, *text = NULL;
	cuda.cuGetErrorName(result, &name);
	cuda.cuGetErrorString(result, &text);
	fprintf(stderr, "%s: %s: %s (%d): %s\n", program_invocation_short_name, call, name ? name : "unknown error", result,
		text ? text : "the driver has no words for it");
	for (size_t i = 0; i < sizeof cures / sizeof *cures; i++)
		if (cures[i].result == result)
			fprintf(stderr, "  try: %s\n", cures[i].cure);
	exit(1);
}

static void *load_library(void)
{
	static const char name[] = "libcuda.so.1";
	void *library = dlopen(name, RTLD_NOW);
	if (library)
		return library;
	const char *why = dlerror();
	if (strncmp(why, name, strlen(name)) != 0 || !strstr(why, "cannot open shared object file")) {
		fprintf(stderr, "%s: libcuda.so.1 cannot be loaded: %s\n", program_invocation_short_name, why);
		exit(1);
	}
	fprintf(stderr, "%s: libcuda.so.1 is not here: it belongs to NVIDIA's driver\n  try: a host with a GPU and its driver, and --gpus all\n",
		program_invocation_short_name);
	exit(STATUS_NO_DRIVER);
}

// A later driver may keep only the second version of a function, whose parameters are the same for those that are used here.
static void *find_function(void *library, const char *symbol)
{
	char second[64];
	void *found = dlsym(library, symbol);
	snprintf(second, sizeof second, "%s_v2", symbol);
	return found ? found : dlsym(library, second);
}

void start_cuda(int no_gpu_status)
{
	void *library = load_library();
	const char *absent = NULL;
#define LOAD(name, symbol, parameters) \
	if (!(cuda.name = (CUresult(*) parameters)find_function(library, #symbol))) \
		absent = #symbol;
	CUDA_FUNCTIONS(LOAD)
#undef LOAD
	cuda.get_own_uuid = (get_uuid_function)dlsym(library, "cuDeviceGetUuid_v2");
	if (absent) {
		fprintf(stderr, "%s: libcuda.so.1 has no %s: the driver is too old\n", program_invocation_short_name, absent);
		exit(1);
	}
	CUresult result = cuda.cuInit(0);
	if (result == CUDA_ERROR_NO_DEVICE && no_gpu_status != 1) {
		fprintf(stderr, "%s: the driver finds no GPU\n  try: --gpus all; on the host: nvidia-smi -L\n", program_invocation_short_name);
		exit(no_gpu_status);
	}
	check_call(result, "cuInit");
}

CUdevice use_first_gpu(void)
{
	CUdevice device;
	CUcontext context;
	CALL(cuDeviceGet, &device, 0);
	CALL(cuDevicePrimaryCtxRetain, &context, device);
	CALL(cuCtxSetCurrent, context);
	return device;
}

CUfunction load_kernel(const char *ptx, const char *name)
{
	CUmodule module;
	CUfunction function;
	CALL(cuModuleLoadDataEx, &module, ptx, 0, NULL, NULL);
	CALL(cuModuleGetFunction, &function, module, name);
	return function;
}

void launch(CUfunction kernel, unsigned blocks, unsigned threads, void **parameters)
{
	CALL(cuLaunchKernel, kernel, blocks, 1, 1, threads, 1, 1, 0, NULL, parameters, NULL);
}
