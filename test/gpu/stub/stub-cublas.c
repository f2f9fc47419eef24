// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcublas.so.12 that knows the Euclidean norm. The memory of the stub of libcuda.so.1 is the process's own.
#include <math.h>
#include <stddef.h>

int cublasCreate_v2(void **handle);
int cublasSnrm2_v2(void *handle, int n, const float *x, int step, float *result);

enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7 };

static int is_created;

int cublasCreate_v2(void **handle)
{
	*handle = &is_created;
	is_created = 1;
	return SUCCESS;
}

int cublasSnrm2_v2(void *handle, int n, const float *x, int step, float *result)
{
	if (handle != &is_created || !is_created)
		return NOT_INITIALIZED;
	if (step != 1)
		return INVALID_VALUE;
	double sum = 0;
	for (int i = 0; i < n; i++)
		sum += (double)x[i] * x[i];
	*result = (float)sqrt(sum);
	return SUCCESS;
}
