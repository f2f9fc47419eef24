// SPDX-License-Identifier: Apache-2.0
#include "ptx.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct label { char name[NAME_SIZE]; int at; };

struct parser {
	const char *at;
	char token[NAME_SIZE];
	struct ptx_kernel *kernel;
	int label_count, use_count;
	struct label labels[MAX_LABELS], uses[MAX_LABELS];
	char *error;
	size_t error_size;
	jmp_buf give_up;
};

_Noreturn static void refuse(struct parser *parser, const char *why)
{
	snprintf(parser->error, parser->error_size, "%s: %s, before: %.40s", why, parser->token, parser->at);
	longjmp(parser->give_up, 1);
}

// A word with its dots and percent signs, or one other character; empty at the end.
static const char *next(struct parser *parser)
{
	for (;;) {
		parser->at += strspn(parser->at, " \t\r\n");
		if (strncmp(parser->at, "//", 2) != 0)
			break;
		parser->at += strcspn(parser->at, "\n");
	}
	size_t length = 0;
	while (isalnum((unsigned char)parser->at[length]) || (parser->at[length] && strchr("._%$", parser->at[length])))
		length++;
	if (length == 0 && *parser->at)
		length = 1;
	if (length >= NAME_SIZE)
		refuse(parser, "too long");
	memcpy(parser->token, parser->at, length);
	parser->token[length] = 0;
	parser->at += length;
	return parser->token;
}

static int is(const struct parser *parser, const char *token)
{
	return strcmp(parser->token, token) == 0;
}

static void expect(struct parser *parser, const char *token)
{
	if (strcmp(next(parser), token) != 0)
		refuse(parser, token);
}

static void keep_name(struct parser *parser, char name[NAME_SIZE])
{
	memcpy(name, parser->token, NAME_SIZE);
}

static int find_name(const char *name, char (*names)[NAME_SIZE], int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -1;
}

static enum value_type read_type(struct parser *parser, const char *name)
{
	static const struct { const char *name; enum value_type type; } types[] = {
		{ "u32", U32 }, { "b32", U32 }, { "u64", U64 }, { "b64", U64 }, { "f32", F32 }, { "pred", PREDICATE },
	};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(name, types[i].name) == 0)
			return types[i].type;
	refuse(parser, "unknown type");
}

static int find_register(struct parser *parser)
{
	struct ptx_kernel *kernel = parser->kernel;
	int found = find_name(parser->token, kernel->registers, kernel->register_count);
	if (found >= 0)
		return found;
	if (kernel->register_count == MAX_REGISTERS)
		refuse(parser, "too many registers");
	keep_name(parser, kernel->registers[kernel->register_count]);
	return kernel->register_count++;
}

static struct operand read_operand(struct parser *parser)
{
	static const char special[][NAME_SIZE] = { "%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x" };
	struct operand operand = { IMMEDIATE, 0, 0 };
	for (int i = 0; i < 4; i++)
		if (is(parser, special[i])) {
			operand.kind = TID + (enum operand_kind)i;
			return operand;
		}
	if (*parser->token == '%') {
		operand.kind = REGISTER;
		operand.reg = find_register(parser);
	} else if (strncmp(parser->token, "0f", 2) == 0 || isdigit((unsigned char)*parser->token)) {
		int is_float = parser->token[1] == 'f';
		operand.value = strtoull(parser->token + 2 * is_float, NULL, is_float ? 16 : 0);
	} else if (!is(parser, parser->kernel->shared_name)) {
		// The address of shared memory is 0, as it has only one variable.
		int parameter = find_name(parser->token, parser->kernel->parameters, parser->kernel->parameter_count);
		if (parameter < 0)
			refuse(parser, "unknown operand");
		operand.value = (uint64_t)parameter;
	}
	return operand;
}

// The operation, and in `instruction` what its suffixes say.
static void read_suffixes(struct parser *parser, char *opcode, struct instruction *instruction)
{
	static const struct { const char *name; enum operation operation; } operations[] = {
		{ "mov", MOV }, { "ld.param", LD_PARAM }, { "ld.global", LD_GLOBAL }, { "ld.shared", LD_SHARED }, { "ld.global.v4", LD_GLOBAL },
		{ "st.global", ST_GLOBAL }, { "st.shared", ST_SHARED }, { "cvta.to.global", CVTA }, { "cvt.u64", CVT }, { "add", ADD }, { "sub", SUB },
		{ "mul.lo", MUL }, { "mul.wide", MUL_WIDE }, { "mul", MUL }, { "mad.lo", MAD }, { "fma.rn", FMA }, { "and", AND }, { "shl", SHL }, { "shr", SHR },
		{ "setp.eq", SETP }, { "setp.ne", SETP }, { "setp.lt", SETP }, { "setp.le", SETP }, { "setp.gt", SETP }, { "setp.ge", SETP },
		{ "bra", BRA }, { "bar.sync", BAR }, { "ret", RET },
	};
	static const char comparisons[][3] = { "eq", "ne", "lt", "le", "gt", "ge" };
	if (strcmp(opcode, "bra") != 0 && strcmp(opcode, "ret") != 0 && strcmp(opcode, "bar.sync") != 0) {
		char *type = strrchr(opcode, '.');
		if (!type)
			refuse(parser, "no type");
		*type++ = 0;
		instruction->source_type = read_type(parser, type);
		instruction->type = strcmp(opcode, "cvt.u64") == 0 ? U64 : instruction->source_type;
	}
	for (int i = 0; i < 6; i++)
		if (strncmp(opcode, "setp.", 5) == 0 && strcmp(opcode + 5, comparisons[i]) == 0)
			instruction->comparison = (enum comparison)i;
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		if (strcmp(opcode, operations[i].name) == 0) {
			instruction->operation = operations[i].operation;
			return;
		}
	refuse(parser, "unknown instruction");
}

static void read_branch(struct parser *parser, struct instruction *instruction)
{
	if (parser->use_count == MAX_LABELS)
		refuse(parser, "too many branches");
	next(parser);
	keep_name(parser, parser->uses[parser->use_count].name);
	parser->uses[parser->use_count++].at = (int)(instruction - parser->kernel->code);
	expect(parser, ";");
}

// An instruction up to its semicolon; its first word has been read.
static void read_instruction(struct parser *parser)
{
	if (parser->kernel->code_count == MAX_CODE)
		refuse(parser, "too much code");
	struct instruction *instruction = &parser->kernel->code[parser->kernel->code_count++];
	*instruction = (struct instruction){ .guard = -1 };
	if (is(parser, "@")) {
		instruction->is_guard_negated = strcmp(next(parser), "!") == 0;
		if (instruction->is_guard_negated)
			next(parser);
		instruction->guard = find_register(parser);
		next(parser);
	}
	char opcode[NAME_SIZE];
	keep_name(parser, opcode);
	read_suffixes(parser, opcode, instruction);
	if (instruction->operation == BRA) {
		read_branch(parser, instruction);
		return;
	}
	while (strcmp(next(parser), ";") != 0) {
		if (!*parser->token)
			refuse(parser, "no end");
		if (strchr(",[]{}", *parser->token))
			continue;
		if (instruction->count == MAX_OPERANDS)
			refuse(parser, "too many operands");
		instruction->operands[instruction->count++] = read_operand(parser);
	}
}

static void read_declaration(struct parser *parser)
{
	if (is(parser, ".shared")) {
		struct ptx_kernel *kernel = parser->kernel;
		expect(parser, ".align");
		next(parser);
		next(parser);
		size_t each_bytes = read_type(parser, parser->token + 1) == U64 ? 8 : 4;
		next(parser);
		keep_name(parser, kernel->shared_name);
		expect(parser, "[");
		kernel->shared_bytes = strtoul(next(parser), NULL, 10) * each_bytes;
	}
	while (*next(parser) && !is(parser, ";"))
		;
}

static void read_body(struct parser *parser)
{
	struct ptx_kernel *kernel = parser->kernel;
	while (strcmp(next(parser), "}") != 0) {
		if (*parser->token == '.') {
			read_declaration(parser);
		} else if (parser->at[0] == ':') {
			if (parser->label_count == MAX_LABELS)
				refuse(parser, "too many labels");
			keep_name(parser, parser->labels[parser->label_count].name);
			parser->labels[parser->label_count++].at = kernel->code_count;
			next(parser);
		} else {
			read_instruction(parser);
		}
	}
	for (int use = 0; use < parser->use_count; use++) {
		int label = 0;
		while (label < parser->label_count && strcmp(parser->labels[label].name, parser->uses[use].name) != 0)
			label++;
		if (label == parser->label_count)
			refuse(parser, parser->uses[use].name);
		kernel->code[parser->uses[use].at].operands[0].value = (uint64_t)parser->labels[label].at;
	}
	parser->label_count = parser->use_count = 0;
}

static void read_kernel(struct parser *parser)
{
	struct ptx_kernel *kernel = parser->kernel;
	next(parser);
	keep_name(parser, kernel->name);
	expect(parser, "(");
	while (!is(parser, ")")) {
		expect(parser, ".param");
		next(parser);
		if (kernel->parameter_count == MAX_PARAMETERS)
			refuse(parser, "too many parameters");
		kernel->parameter_types[kernel->parameter_count] = read_type(parser, parser->token + 1);
		next(parser);
		keep_name(parser, kernel->parameters[kernel->parameter_count++]);
		next(parser);
	}
	// Directives of performance.
	while (strcmp(next(parser), "{") != 0)
		if (!*parser->token)
			refuse(parser, "no body");
	read_body(parser);
}

static int read_module(struct parser *parser, struct ptx_module *module)
{
	if (setjmp(parser->give_up))
		return -1;
	expect(parser, ".version");
	while (*next(parser)) {
		if (!is(parser, ".entry"))
			continue;
		if (module->kernel_count == MAX_KERNELS)
			refuse(parser, "too many kernels");
		parser->kernel = &module->kernels[module->kernel_count++];
		read_kernel(parser);
	}
	return 0;
}

struct ptx_module *parse_ptx(const char *text, char *error, size_t error_size)
{
	struct parser parser = { .at = text, .error = error, .error_size = error_size };
	struct ptx_module *module = calloc(1, sizeof *module);
	if (module && read_module(&parser, module) == 0)
		return module;
	free(module);
	return NULL;
}
