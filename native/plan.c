// SPDX-License-Identifier: Apache-2.0
// Decoding a launch plan. The bytes come from our own planner, but every length is checked all the same.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "plan.h"

static const struct { enum plan_code code; const char *name, *fields; } op_table[] = {
#define X(id, code, name, fields) {id, name, fields},
	PLAN_OPS(X)
#undef X
};

bool plan_resumes(const struct plan *plan)
{
	return plan->count > 0 && plan->op[plan->count - 1].code == OP_RESUME;
}

struct cursor { const char *data; size_t size, at; };

static int take_u32(struct cursor *cursor, uint32_t *value)
{
	const unsigned char *byte;

	if (cursor->size - cursor->at < 4)
		return -1;
	byte = (const unsigned char *)cursor->data + cursor->at;
	*value = byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
	cursor->at += 4;
	return 0;
}

static int take_u64(struct cursor *cursor, uint64_t *value)
{
	uint32_t low, high;

	if (take_u32(cursor, &low) < 0 || take_u32(cursor, &high) < 0)
		return -1;
	*value = low | (uint64_t)high << 32;
	return 0;
}

static int take_bytes(struct cursor *cursor, const char **data, size_t *size)
{
	uint32_t length;

	if (take_u32(cursor, &length) < 0 || cursor->size - cursor->at < length)
		return -1;
	*data = cursor->data + cursor->at;
	*size = length;
	cursor->at += length;
	return 0;
}

// A string's NUL is on the wire, so that it can be used where it lies.
static int take_str(struct cursor *cursor, const char **data, size_t *size)
{
	if (take_bytes(cursor, data, size) < 0 || cursor->at == cursor->size || cursor->data[cursor->at] != 0)
		return -1;
	if (memchr(*data, 0, *size))
		return -1;
	cursor->at++;
	return 0;
}

static int take_strs(struct cursor *cursor, struct plan_field *field)
{
	uint32_t count;

	// each string takes at least five bytes: a count that cannot be true is refused before memory is taken for it
	if (take_u32(cursor, &count) < 0 || count > (cursor->size - cursor->at) / 5)
		return -1;
	field->list = calloc((size_t)count + 1, sizeof *field->list);
	if (!field->list)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		const char *data;
		size_t size;
		if (take_str(cursor, &data, &size) < 0)
			return -1;
		field->list[i] = (char *)(uintptr_t)data;
	}
	field->count = count;
	return 0;
}

static int take_field(struct cursor *cursor, char kind, struct plan_field *field)
{
	uint32_t number;

	switch (kind) {
	case 'w':
		if (take_u32(cursor, &number) < 0)
			return -1;
		field->number = number;
		return 0;
	case 'q':
		return take_u64(cursor, &field->number);
	case 's':
		return take_str(cursor, &field->data, &field->size);
	case 'b':
		return take_bytes(cursor, &field->data, &field->size);
	default:
		return take_strs(cursor, field);
	}
}

static int take_op(struct cursor *cursor, struct plan_op *op, struct fault *why)
{
	struct cursor body;
	const char *fields = NULL;
	uint32_t head;
	int status = 0;

	if (take_u32(cursor, &head) < 0 || take_bytes(cursor, &body.data, &body.size) < 0)
		return fault(why, 0, "the launch plan is cut short");
	body.at = 0;
	for (size_t i = 0; i < sizeof op_table / sizeof op_table[0]; i++) {
		if ((uint32_t)op_table[i].code == head) {
			op->code = op_table[i].code;
			op->name = op_table[i].name;
			fields = op_table[i].fields;
		}
	}
	if (!fields)
		return fault(why, 0, "the launch plan has an operation that this launcher does not know (code %u)", head);
	for (size_t i = 0; fields[i] && status == 0; i++)
		status = take_field(&body, fields[i], &op->field[i]);
	if (status < 0 || body.at != body.size)
		return fault(why, 0, "the launch plan's operation %s is malformed", op->name);
	return 0;
}

int plan_decode(struct plan *plan, const void *data, size_t size, struct fault *why)
{
	struct cursor cursor = {data, size, 0};
	uint32_t version, count;

	plan->op = NULL;
	plan->count = 0;
	if (take_u32(&cursor, &version) < 0 || take_u32(&cursor, &count) < 0)
		return fault(why, 0, "the launch plan is cut short");
	if (version != PLAN_VERSION)
		return fault(why, 0, "the launch plan has version %u, and this launcher knows version %u", version, PLAN_VERSION);
	if (count > (size - cursor.at) / 8)
		return fault(why, 0, "the launch plan is cut short");
	plan->op = calloc((size_t)count + 1, sizeof *plan->op);
	if (!plan->op)
		return fault(why, ENOMEM, "read the launch plan");
	for (uint32_t i = 0; i < count; i++) {
		plan->count = i + 1;
		if (take_op(&cursor, &plan->op[i], why) < 0) {
			plan_free(plan);
			return -1;
		}
	}
	if (cursor.at != size) {
		plan_free(plan);
		return fault(why, 0, "the launch plan is longer than its operations");
	}
	return 0;
}

void plan_free(struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		for (size_t f = 0; f < PLAN_MAX_FIELDS; f++)
			free(plan->op[i].field[f].list);
	}
	free(plan->op);
	plan->op = NULL;
	plan->count = 0;
}
