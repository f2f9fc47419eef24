// SPDX-License-Identifier: Apache-2.0
// gpu-norm [-r ROUNDS] [SIZE..]: the Euclidean norm of vectors of SIZE single-precision numbers, on the GPU by a kernel of its own and by cuBLAS where
// that is there, and on the CPU. The exit status is 0 when the results agree, 1 when not or when a call fails, 2 when the arguments are
// wrong, 77 where there is no driver or no GPU.
#include "cuda.h"
#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// As norm.ptx: numbers come in groups of four, and a block has 256 threads. Eight blocks a processor are as many as fit.
enum { GROUP = 4, THREADS = 256, BLOCKS_A_PROCESSOR = 8 };

static const double max_error = 1e-5;

EMBED_TEXT(norm_ptx, "norm.ptx");

struct cublas {
	const char *name;
	void *handle;
	int (*create)(void **handle);
	int (*snrm2)(void *handle, int n, CUdeviceptr x, int step, float *result);
};

struct gpu {
	CUfunction kernel;
	CUevent start, end;
	unsigned blocks;
	CUdeviceptr partial;
	struct cublas cublas;
};

struct vector {
	size_t size, groups;
	float *numbers;
	CUdeviceptr on_gpu;
};

struct result { double norm, ms; };

static void *allocate(size_t bytes)
{
	void *memory = calloc(1, bytes);
	if (!memory) {
		fprintf(stderr, "gpu-norm: no memory on the host: %zu MB\n  try: a smaller size\n", bytes / 1000000);
		exit(1);
	}
	return memory;
}

// cuBLAS is no part of the driver: the image or a mount has it, or nobody.
static struct cublas find_cublas(void)
{
	static const char *const names[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so" };
	struct cublas found = { 0 };
	for (size_t i = 0; i < sizeof names / sizeof *names && !found.handle; i++) {
		void *library = dlopen(names[i], RTLD_NOW);
		if (!library)
			continue;
		found.name = names[i];
		found.create = (int (*)(void **))dlsym(library, "cublasCreate_v2");
		found.snrm2 = (int (*)(void *, int, CUdeviceptr, int, float *))dlsym(library, "cublasSnrm2_v2");
		int status = found.create && found.snrm2 ? found.create(&found.handle) : -1;
		if (status != 0) {
			fprintf(stderr, "gpu-norm: %s is here, but cublasCreate gives %d\n", names[i], status);
			found.handle = NULL;
		}
	}
	return found;
}

static struct gpu prepare_gpu(void)
{
	struct gpu gpu;
	int processors, version;
	char name[256];
	start_cuda(STATUS_NO_DRIVER);
	CUdevice device = use_first_gpu();
	CALL(cuDeviceGetName, name, sizeof name, device);
	CALL(cuDriverGetVersion, &version);
	CALL(cuDeviceGetAttribute, &processors, CU_ATTRIBUTE_MULTIPROCESSORS, device);
	gpu.kernel = load_kernel(norm_ptx, "sum_squares");
	CALL(cuEventCreate, &gpu.start, 0);
	CALL(cuEventCreate, &gpu.end, 0);
	gpu.blocks = (unsigned)processors * BLOCKS_A_PROCESSOR;
	CALL(cuMemAlloc, &gpu.partial, gpu.blocks * sizeof(float));
	gpu.cublas = find_cublas();
	printf("GPU     %s\nCUDA    %d.%d, of the driver\ncuBLAS  %s\n\n", name, version / 1000, version % 1000 / 10,
		gpu.cublas.handle ? gpu.cublas.name : "not here");
	return gpu;
}

// Numbers between -1 and 1, the same in every run (xorshift).
static struct vector make_vector(size_t size)
{
	struct vector vector = { .size = size, .groups = (size + GROUP - 1) / GROUP };
	size_t bytes = vector.groups * GROUP * sizeof(float);
	vector.numbers = allocate(bytes);
	uint32_t state = 20261122;
	for (size_t i = 0; i < size; i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		vector.numbers[i] = (float)(int32_t)state * 0x1p-31f;
	}
	CALL(cuMemAlloc, &vector.on_gpu, bytes);
	CALL(cuMemcpyHtoD, vector.on_gpu, vector.numbers, bytes);
	return vector;
}

static struct result calculate_on_cpu(const struct vector *vector)
{
	struct timespec start, end;
	double sum = 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (size_t i = 0; i < vector->size; i++)
		sum += (double)vector->numbers[i] * vector->numbers[i];
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (struct result){ sqrt(sum), (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) * 1e-6 };
}

static float finish_timing(const struct gpu *gpu)
{
	float ms;
	CALL(cuEventRecord, gpu->end, NULL);
	CALL(cuEventSynchronize, gpu->end);
	CALL(cuEventElapsedTime, &ms, gpu->start, gpu->end);
	return ms;
}

// The fastest round counts. The first one is not timed: it warms the GPU up.
static struct result calculate_on_gpu(const struct gpu *gpu, struct vector *vector, int rounds)
{
	struct result result = { 0, INFINITY };
	uint64_t groups = vector->groups;
	CUdeviceptr partial_sums = gpu->partial;
	for (int round = 0; round <= rounds; round++) {
		CALL(cuEventRecord, gpu->start, NULL);
		launch(gpu->kernel, gpu->blocks, THREADS, (void *[]){ &vector->on_gpu, &partial_sums, &groups });
		float ms = finish_timing(gpu);
		if (round > 0 && ms < result.ms)
			result.ms = ms;
	}
	float *partial = allocate(gpu->blocks * sizeof *partial);
	CALL(cuMemcpyDtoH, partial, gpu->partial, gpu->blocks * sizeof *partial);
	double sum = 0;
	for (unsigned i = 0; i < gpu->blocks; i++)
		sum += (double)partial[i];
	free(partial);
	result.norm = sqrt(sum);
	return result;
}

static struct result calculate_by_cublas(const struct gpu *gpu, const struct vector *vector, int rounds)
{
	struct result result = { 0, INFINITY };
	for (int round = 0; round <= rounds; round++) {
		float norm;
		CALL(cuEventRecord, gpu->start, NULL);
		int status = gpu->cublas.snrm2(gpu->cublas.handle, (int)vector->size, vector->on_gpu, 1, &norm);
		float ms = finish_timing(gpu);
		if (status != 0) {
			fprintf(stderr, "gpu-norm: cublasSnrm2 gives %d\n", status);
			exit(1);
		}
		result.norm = norm;
		if (round > 0 && ms < result.ms)
			result.ms = ms;
	}
	return result;
}

// Prints a line of the table; 1 when the GPU's result differs from the CPU's by more than single precision explains.
static int compare_norms(const struct gpu *gpu, size_t size, int rounds)
{
	struct vector vector = make_vector(size);
	struct result cpu = calculate_on_cpu(&vector), own = calculate_on_gpu(gpu, &vector, rounds);
	double error = fabs(own.norm - cpu.norm) / cpu.norm;
	char cublas_ms[32] = "-";
	if (gpu->cublas.handle && size <= INT_MAX) {
		struct result cublas = calculate_by_cublas(gpu, &vector, rounds);
		snprintf(cublas_ms, sizeof cublas_ms, "%.3f", cublas.ms);
		error = fmax(error, fabs(cublas.norm - cpu.norm) / cpu.norm);
	}
	int is_wrong = !(error <= max_error);
	printf("%11zu %10.3f %9.1f %10s %10.3f  %.6e  %.0e %s\n", size, own.ms, (double)size * sizeof(float) / own.ms * 1e-6, cublas_ms, cpu.ms,
		own.norm, error, is_wrong ? "WRONG" : "ok");
	fflush(stdout);
	CALL(cuMemFree, vector.on_gpu);
	free(vector.numbers);
	return is_wrong;
}

static long long read_number(const char *text, long long most)
{
	char *end;
	long long number = strtoll(text, &end, 10);
	if (*text && !*end && number >= 1 && number <= most)
		return number;
	fprintf(stderr, "gpu-norm: %s is no number from 1 to %lld\nusage: gpu-norm [-r ROUNDS] [SIZE..]\n", text, most);
	exit(2);
}

int main(int argc, char **argv)
{
	static char *defaults[] = { "1048576", "16777216", "67108864" };
	enum { DEFAULT_COUNT = sizeof defaults / sizeof *defaults, MOST_ROUNDS = 1000000 };
	const long long most_numbers = 1ll << 36;
	int rounds = 20, first = 1;
	if (argc > 1 && strcmp(argv[1], "-r") == 0) {
		rounds = (int)read_number(argc > 2 ? argv[2] : "", MOST_ROUNDS);
		first = 3;
	}
	char **sizes = first < argc ? argv + first : defaults;
	int count = first < argc ? argc - first : DEFAULT_COUNT, wrong = 0;
	for (int i = 0; i < count; i++)
		read_number(sizes[i], most_numbers);
	struct gpu gpu = prepare_gpu();
	printf("       size     GPU ms      GB/s  cuBLAS ms     CPU ms          norm  error\n");
	for (int i = 0; i < count; i++)
		wrong |= compare_norms(&gpu, (size_t)read_number(sizes[i], most_numbers), rounds);
	return wrong;
}
