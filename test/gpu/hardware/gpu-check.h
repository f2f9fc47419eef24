// SPDX-License-Identifier: Apache-2.0
// The checks of gpu-check. Each prints one line when all is well, else says what is not and exits with 1.
#pragma once
#include "cuda.h"

extern const char check_ptx[] __attribute__((visibility("hidden")));

// Kernels on memory of the GPU, on memory that host and GPU share, and through the driver's compiler.
void check_vectoradd(void);
void check_managed(void);
void check_jit(void);

// The rates of arithmetic and of copying, each for half of the time.
void measure_throughput(double seconds);

// Says that a result is wrong, and exits.
_Noreturn void stop_at_wrong_result(const char *what, size_t at, double found, double expected);
