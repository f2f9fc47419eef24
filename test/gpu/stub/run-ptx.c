// SPDX-License-Identifier: Apache-2.0
#include "ptx.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct launch {
	const struct ptx_kernel *kernel;
	unsigned blocks, threads, block;
	void **parameters;
	char *shared;
};

struct thread {
	unsigned id;
	int at;
	uint64_t registers[MAX_REGISTERS];
};

static uint64_t read_value(const struct launch *launch, const struct thread *thread, const struct operand *operand)
{
	switch (operand->kind) {
	case REGISTER:
		return thread->registers[operand->reg];
	case TID:
		return thread->id;
	case NTID:
		return launch->threads;
	case CTAID:
		return launch->block;
	case NCTAID:
		return launch->blocks;
	case IMMEDIATE:
		return operand->value;
	}
	abort();
}

static float to_float(uint64_t bits)
{
	float value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static uint64_t from_float(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

static int compare(enum comparison comparison, enum value_type type, uint64_t a, uint64_t b)
{
	int order = type == F32 ? (to_float(a) > to_float(b)) - (to_float(a) < to_float(b)) : (a > b) - (a < b);
	switch (comparison) {
	case EQ:
		return order == 0;
	case NE:
		return order != 0;
	case LT:
		return order < 0;
	case LE:
		return order <= 0;
	case GT:
		return order > 0;
	case GE:
		return order >= 0;
	}
	abort();
}

static uint64_t calculate(const struct instruction *instruction, uint64_t a, uint64_t b, uint64_t c)
{
	enum operation operation = instruction->operation;
	if (instruction->type == F32 && (operation == ADD || operation == SUB || operation == MUL || operation == FMA)) {
		float x = to_float(a), y = to_float(b);
		return from_float(operation == FMA ? fmaf(x, y, to_float(c)) : operation == ADD ? x + y : operation == SUB ? x - y : x * y);
	}
	uint64_t bits = instruction->type == U32 ? 32 : 64, result;
	if (operation == ADD)
		result = a + b;
	else if (operation == SUB)
		result = a - b;
	else if (operation == MUL || operation == MUL_WIDE)
		result = a * b;
	else if (operation == MAD)
		result = a * b + c;
	else if (operation == AND)
		result = a & b;
	// Shifts by more than there are bits give 0.
	else if (operation == SHL)
		result = b < bits ? a << b : 0;
	else
		result = b < bits ? a >> b : 0;
	return bits == 32 && operation != MUL_WIDE ? (uint32_t)result : result;
}

static size_t size_of(enum value_type type)
{
	return type == U64 ? 8 : 4;
}

static char *address_of(const struct launch *launch, const struct instruction *instruction, uint64_t address)
{
	int is_shared = instruction->operation == LD_SHARED || instruction->operation == ST_SHARED;
	if (is_shared && address + size_of(instruction->type) > launch->kernel->shared_bytes)
		abort();
	return is_shared ? launch->shared + address : (char *)(uintptr_t)address;
}

static void obey(const struct launch *launch, struct thread *thread, const struct instruction *instruction)
{
	const struct operand *operands = instruction->operands;
	uint64_t *result = &thread->registers[operands[0].reg], values[MAX_OPERANDS] = { 0 };
	for (int i = 0; i < instruction->count; i++)
		values[i] = read_value(launch, thread, &operands[i]);
	size_t size = size_of(instruction->type);
	switch (instruction->operation) {
	case LD_PARAM:
		*result = 0;
		memcpy(result, launch->parameters[operands[1].value], size_of(launch->kernel->parameter_types[operands[1].value]));
		return;
	case LD_GLOBAL:
	case LD_SHARED:
		// The last operand is the address; a vector of registers is before it.
		for (int i = 0; i < instruction->count - 1; i++) {
			uint64_t value = 0;
			memcpy(&value, address_of(launch, instruction, values[instruction->count - 1]) + (size_t)i * size, size);
			thread->registers[operands[i].reg] = value;
		}
		return;
	case ST_GLOBAL:
	case ST_SHARED:
		memcpy(address_of(launch, instruction, values[0]), &values[1], size);
		return;
	case MOV:
	case CVTA:
	case CVT:
		*result = values[1];
		return;
	case SETP:
		*result = (uint64_t)compare(instruction->comparison, instruction->type, values[1], values[2]);
		return;
	case ADD:
	case SUB:
	case MUL:
	case MUL_WIDE:
	case MAD:
	case FMA:
	case AND:
	case SHL:
	case SHR:
		*result = calculate(instruction, values[1], values[2], values[3]);
		return;
	case BRA:
	case BAR:
	case RET:
		abort();
	}
}

// Runs a thread until the next barrier (1) or its end (0).
static int run_thread(const struct launch *launch, struct thread *thread)
{
	while (thread->at < launch->kernel->code_count) {
		const struct instruction *instruction = &launch->kernel->code[thread->at++];
		if (instruction->guard >= 0 && (thread->registers[instruction->guard] != 0) == instruction->is_guard_negated)
			continue;
		if (instruction->operation == BRA)
			thread->at = (int)instruction->operands[0].value;
		else if (instruction->operation == BAR)
			return 1;
		else if (instruction->operation == RET)
			thread->at = launch->kernel->code_count;
		else
			obey(launch, thread, instruction);
	}
	return 0;
}

void run_ptx(const struct ptx_kernel *kernel, unsigned blocks, unsigned threads, void **parameters)
{
	struct thread *all = malloc(threads * sizeof *all);
	struct launch launch = { kernel, blocks, threads, 0, parameters, malloc(kernel->shared_bytes + 1) };
	if (!all || !launch.shared)
		abort();
	for (; launch.block < blocks; launch.block++) {
		// What a program must not rely on is garbage, as on a GPU.
		memset(all, 0xa5, threads * sizeof *all);
		memset(launch.shared, 0xa5, kernel->shared_bytes);
		for (unsigned i = 0; i < threads; i++) {
			all[i].id = i;
			all[i].at = 0;
		}
		for (int is_waiting = 1; is_waiting;) {
			is_waiting = 0;
			for (unsigned i = 0; i < threads; i++)
				is_waiting |= run_thread(&launch, &all[i]);
		}
	}
	free(all);
	free(launch.shared);
}
