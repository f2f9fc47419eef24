// SPDX-License-Identifier: Apache-2.0
// How fast the GPU computes and copies. The best of many short spans counts: it is the one that nothing disturbed.
#include "gpu-check.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

// As multiply_and_add of gpu-check.ptx: 8 chains, 4 steps of each a round, a multiplication and an addition a step.
enum { CHAINS = 8, STEPS_A_ROUND = 4, OPERATIONS_A_ROUND = CHAINS * STEPS_A_ROUND * 2, THREADS = 256, BLOCKS_A_PROCESSOR = 8 };
enum { SPAN_MS = 20, MOST_ROUNDS = 1 << 24 };

static double now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

// What every thread must find: fma is exact to the last bit on both sides.
static float expect_sum(uint32_t rounds)
{
	float x[CHAINS], sum = 0;
	for (int i = 0; i < CHAINS; i++) {
		x[i] = (float)i;
		for (uint32_t step = 0; step < rounds * STEPS_A_ROUND; step++) {
			float next = fmaf(x[i], 0.999f, 0.001f);
			// It has come to rest.
			if (next == x[i])
				break;
			x[i] = next;
		}
		sum += x[i];
	}
	return sum;
}

struct span { CUevent start, end; };

static float finish_span(const struct span *span)
{
	float ms;
	CALL(cuEventRecord, span->end, NULL);
	CALL(cuEventSynchronize, span->end);
	CALL(cuEventElapsedTime, &ms, span->start, span->end);
	return ms > 0 ? ms : 1e-6f;
}

static double measure_arithmetic(const struct span *span, unsigned blocks, double seconds)
{
	CUfunction kernel = load_kernel(check_ptx, "multiply_and_add");
	CUdeviceptr sums;
	CALL(cuMemAlloc, &sums, (size_t)blocks * THREADS * sizeof(float));
	double best = 0, end = now() + seconds;
	uint32_t rounds = 1;
	// Longer and longer until a span is long enough to be timed well.
	for (float ms; best == 0 || now() < end;) {
		CALL(cuEventRecord, span->start, NULL);
		launch(kernel, blocks, THREADS, (void *[]){ &sums, &rounds });
		ms = finish_span(span);
		double rate = (double)blocks * THREADS * rounds * OPERATIONS_A_ROUND / ms * 1e-6;
		best = rate > best ? rate : best;
		if (ms < SPAN_MS && rounds < MOST_ROUNDS)
			rounds *= 2;
	}
	// The last launch, whose rounds may have been doubled after it, is repeated so that its results are known.
	launch(kernel, blocks, THREADS, (void *[]){ &sums, &rounds });
	float last, expected = expect_sum(rounds);
	size_t at = (size_t)blocks * THREADS - 1;
	CALL(cuMemcpyDtoH, &last, sums + at * sizeof last, sizeof last);
	if (last != expected)
		stop_at_wrong_result("throughput", at, last, expected);
	CALL(cuMemFree, sums);
	return best;
}

static double measure_copy(const struct span *span, size_t total_bytes, double seconds)
{
	size_t bytes = total_bytes / 8 < (size_t)256 << 20 ? total_bytes / 8 : (size_t)256 << 20;
	CUdeviceptr from, to;
	CALL(cuMemAlloc, &from, bytes);
	CALL(cuMemAlloc, &to, bytes);
	double best = 0;
	for (double end = now() + seconds; best == 0 || now() < end;) {
		enum { COPIES = 8 };
		CALL(cuEventRecord, span->start, NULL);
		for (int i = 0; i < COPIES; i++)
			CALL(cuMemcpyDtoDAsync, to, from, bytes, NULL);
		// What is read and what is written.
		double rate = 2.0 * COPIES * (double)bytes / finish_span(span) * 1e-6;
		best = rate > best ? rate : best;
	}
	CALL(cuMemFree, from);
	CALL(cuMemFree, to);
	return best;
}

void measure_throughput(double seconds)
{
	CUdevice device = use_first_gpu();
	struct span span;
	int processors;
	size_t total_bytes;
	CALL(cuEventCreate, &span.start, 0);
	CALL(cuEventCreate, &span.end, 0);
	CALL(cuDeviceGetAttribute, &processors, CU_ATTRIBUTE_MULTIPROCESSORS, device);
	CALL(cuDeviceTotalMem, &total_bytes, device);
	double arithmetic = measure_arithmetic(&span, (unsigned)processors * BLOCKS_A_PROCESSOR, seconds / 2);
	double copy = measure_copy(&span, total_bytes, seconds / 2);
	printf("throughput: %.3f GFLOP/s in single precision, %.3f GB/s of copying\n", arithmetic, copy);
}
