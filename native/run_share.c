// SPDX-License-Identifier: Apache-2.0
// What two starts must have in common to use the same mount.
#include <string.h>
#include <sys/stat.h>
#include "run.h"
#include "sha256.h"

static void hash_bytes(struct sha256 *hash, const void *data, size_t size)
{
	uint64_t length = size;

	// the length first, so that no two lists of fields look the same
	sha256_update(hash, &length, sizeof length);
	if (size)
		sha256_update(hash, data, size);
}

static void hash_operation(struct sha256 *hash, const struct plan_op *op)
{
	hash_bytes(hash, op->name, strlen(op->name));
	for (size_t i = 0; i < PLAN_MAX_FIELDS; i++) {
		const struct plan_field *field = &op->field[i];
		sha256_update(hash, &field->number, sizeof field->number);
		hash_bytes(hash, field->data, field->data ? field->size : 0);
		for (size_t j = 0; j < field->count; j++)
			hash_bytes(hash, field->list[j], strlen(field->list[j]));
	}
}

// A copy of the image elsewhere may be damaged where ours is not.
static int hash_file(struct sha256 *hash, int file)
{
	struct stat facts;
	uint64_t number[6];

	if (fstat(file, &facts) < 0)
		return -1;
	number[0] = facts.st_dev;
	number[1] = facts.st_ino;
	number[2] = (uint64_t)facts.st_size;
	number[3] = (uint64_t)facts.st_mtim.tv_sec;
	number[4] = (uint64_t)facts.st_mtim.tv_nsec;
	number[5] = KEEPER_WIRE;
	sha256_update(hash, number, sizeof number);
	return 0;
}

enum share_role run_share(struct run *run, const struct plan_op *serve, int file)
{
	struct sha256 hash;
	unsigned char key[MEETING_KEY_SIZE];

	if (!run->sharing)
		return SHARE_ALONE;
	sha256_init(&hash);
	hash_operation(&hash, run->sharing);
	hash_operation(&hash, serve);
	for (size_t i = 0; i < run->plan->count; i++) {
		const struct plan_op *op = &run->plan->op[i];
		if (op->code == OP_ENTRY || op->code == OP_USERNS)
			hash_operation(&hash, op);
	}
	if (hash_file(&hash, file) < 0)
		return SHARE_ALONE;
	sha256_final(&hash, key);
	return share_meet(&run->share, run->sharing->field[0].data, key);
}
