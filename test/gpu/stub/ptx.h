// SPDX-License-Identifier: Apache-2.0
// Runs kernels in PTX text on the CPU: as much of PTX as the kernels of this repository use. (Parallel Thread Execution ISA, NVIDIA.)
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { MAX_KERNELS = 16, MAX_PARAMETERS = 8, MAX_REGISTERS = 64, MAX_OPERANDS = 6, MAX_CODE = 256, MAX_LABELS = 16, NAME_SIZE = 32 };

enum operation { MOV, LD_PARAM, LD_GLOBAL, LD_SHARED, ST_GLOBAL, ST_SHARED, CVTA, CVT, ADD, SUB, MUL, MUL_WIDE, MAD, FMA, AND, SHL, SHR, SETP, BRA, BAR, RET };
enum value_type { U32, U64, F32, PREDICATE };
enum comparison { EQ, NE, LT, LE, GT, GE };
enum operand_kind { REGISTER, IMMEDIATE, TID, NTID, CTAID, NCTAID };

struct operand {
	enum operand_kind kind;
	int reg;
	// An immediate value, the offset of an address, the number of a parameter, or where a branch goes.
	uint64_t value;
};

struct instruction {
	enum operation operation;
	enum value_type type, source_type;
	enum comparison comparison;
	// The register whose predicate decides, -1 without one.
	int guard;
	int is_guard_negated;
	int count;
	struct operand operands[MAX_OPERANDS];
};

struct ptx_kernel {
	char name[NAME_SIZE];
	int parameter_count;
	char parameters[MAX_PARAMETERS][NAME_SIZE];
	enum value_type parameter_types[MAX_PARAMETERS];
	char shared_name[NAME_SIZE];
	size_t shared_bytes;
	int register_count;
	char registers[MAX_REGISTERS][NAME_SIZE];
	int code_count;
	struct instruction code[MAX_CODE];
};

struct ptx_module {
	int kernel_count;
	struct ptx_kernel kernels[MAX_KERNELS];
};

// Reads a module. NULL when something in it is not understood: error then says what.
struct ptx_module *parse_ptx(const char *text, char *error, size_t error_size);

// Runs all threads of a launch of one dimension, block by block; parameters as cuLaunchKernel takes them. Addresses are the process's own.
void run_ptx(const struct ptx_kernel *kernel, unsigned blocks, unsigned threads, void **parameters);
