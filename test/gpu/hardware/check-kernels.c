// SPDX-License-Identifier: Apache-2.0
// Kernels whose results are compared with the CPU's, all of them.
#include "gpu-check.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 1 << 20, THREADS = 256, BLOCKS = COUNT / THREADS, STEPS_COUNT = 1 << 16 };

static void *allocate(size_t bytes)
{
	void *memory = malloc(bytes);
	if (!memory) {
		fprintf(stderr, "gpu-check: no memory: %zu bytes\n", bytes);
		exit(1);
	}
	return memory;
}

static CUdeviceptr copy_to_gpu(const void *data, size_t bytes)
{
	CUdeviceptr memory;
	CALL(cuMemAlloc, &memory, bytes);
	CALL(cuMemcpyHtoD, memory, data, bytes);
	return memory;
}

void check_vectoradd(void)
{
	size_t bytes = COUNT * sizeof(float);
	float *a = allocate(bytes), *b = allocate(bytes), *c = allocate(bytes);
	for (int i = 0; i < COUNT; i++) {
		a[i] = (float)i;
		b[i] = 0.5f * (float)(i % 1000);
		c[i] = -1;
	}
	use_first_gpu();
	CUfunction kernel = load_kernel(check_ptx, "add_vectors");
	CUdeviceptr gpu_a = copy_to_gpu(a, bytes), gpu_b = copy_to_gpu(b, bytes), gpu_c = copy_to_gpu(c, bytes);
	uint32_t count = COUNT;
	launch(kernel, BLOCKS, THREADS, (void *[]){ &gpu_a, &gpu_b, &gpu_c, &count });
	CALL(cuMemcpyDtoH, c, gpu_c, bytes);
	for (size_t i = 0; i < COUNT; i++)
		if (c[i] != a[i] + b[i])
			stop_at_wrong_result("vectoradd", i, c[i], a[i] + b[i]);
	printf("vectoradd: %d sums are right\n", COUNT);
}

void check_managed(void)
{
	CUdeviceptr memory;
	use_first_gpu();
	CUfunction kernel = load_kernel(check_ptx, "double_values");
	CALL(cuMemAllocManaged, &memory, COUNT * sizeof(uint32_t), CU_ATTACH_GLOBAL);
	uint32_t *values = (uint32_t *)(uintptr_t)memory;
	for (uint32_t i = 0; i < COUNT; i++)
		values[i] = i + 7;
	uint32_t count = COUNT;
	launch(kernel, BLOCKS, THREADS, (void *[]){ &memory, &count });
	CALL(cuCtxSynchronize);
	for (uint32_t i = 0; i < COUNT; i++)
		if (values[i] != 2 * (i + 7))
			stop_at_wrong_result("managed", i, values[i], 2.0 * (i + 7));
	printf("managed: %d numbers went to the GPU and back without a copy\n", COUNT);
}

static CUmodule compile(double *taken_ms)
{
	static char info[8192], errors[8192];
	int options[] = { CU_JIT_WALL_TIME_MS, CU_JIT_INFO_LOG, CU_JIT_INFO_LOG_SIZE, CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_SIZE, CU_JIT_LOG_VERBOSE };
	// A value is either a pointer or a number in its place; the driver writes the time, a float, and the lengths in their places.
	union { void *pointer; uintptr_t number; float ms; } values[] = {
		{ .number = 0 },
		{ .pointer = info }, { .number = sizeof info },
		{ .pointer = errors }, { .number = sizeof errors },
		{ .number = 1 },
	};
	CUmodule module = NULL;
	CUresult result = cuda.cuModuleLoadDataEx(&module, check_ptx, sizeof options / sizeof *options, options, (void **)values);
	if (result != CUDA_SUCCESS && *errors)
		fprintf(stderr, "%s: the driver's compiler says: %s\n", program_invocation_short_name, errors);
	check_call(result, "cuModuleLoadDataEx");
	*taken_ms = values[0].ms;
	return module;
}

static uint32_t count_steps(uint64_t n)
{
	uint32_t steps = 0;
	for (; n != 1; steps++)
		n = n % 2 ? 3 * n + 1 : n / 2;
	return steps;
}

void check_jit(void)
{
	double taken_ms;
	CUfunction kernel;
	use_first_gpu();
	CUmodule module = compile(&taken_ms);
	CALL(cuModuleGetFunction, &kernel, module, "count_steps");
	uint32_t *steps = allocate(STEPS_COUNT * sizeof *steps), count = STEPS_COUNT;
	for (size_t i = 0; i < STEPS_COUNT; i++)
		steps[i] = UINT32_MAX;
	CUdeviceptr memory = copy_to_gpu(steps, STEPS_COUNT * sizeof *steps);
	launch(kernel, STEPS_COUNT / THREADS, THREADS, (void *[]){ &memory, &count });
	CALL(cuMemcpyDtoH, steps, memory, STEPS_COUNT * sizeof *steps);
	for (size_t i = 0; i < STEPS_COUNT; i++)
		if (steps[i] != count_steps(i + 1))
			stop_at_wrong_result("jit", i, steps[i], count_steps(i + 1));
	printf("jit: compiled in %.1f ms, %d loops counted right\n", taken_ms, STEPS_COUNT);
}
