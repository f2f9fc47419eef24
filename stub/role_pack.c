// SPDX-License-Identifier: Apache-2.0
// Role pack: a squashfs image of the records that follow the facts.
#include "roles.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "pack.h"

static uint64_t need_number(const struct buffer *facts, const char *key, uint64_t max)
{
	uint64_t value;
	if (role_number(facts, key, &value) || value > max)
		die(EINVAL, "role pack: %s", key);
	return value;
}

static void set_flag(struct pack_options *options, const char *flag)
{
	const struct { const char *name; int *flag; } known[] = {
		{ "noD", &options->raw_data }, { "noI", &options->raw_inodes }, { "noF", &options->raw_fragments }, { "noX", &options->raw_xattrs },
		{ "no-fragments", &options->no_fragments }, { "no-duplicates", &options->no_duplicates }, { "lz4-hc", &options->lz4_hc },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!strcmp(flag, known[i].name)) {
			*known[i].flag = 1;
			return;
		}
	}
	die(EINVAL, "role pack: flag %s", flag);
}

int pack_role(const struct buffer *facts, int input)
{
	OWN const char *compressor = role_fact(facts, "compressor");
	OWN const char *level = role_fact(facts, "level");
	struct pack_options options = { .compressor = compressor, .level = -1 };
	struct pack_result result;
	struct buffer answer = { 0 };
	struct fault why = { 0 };
	struct fact fact;
	int target = (int)need_number(facts, "target", 1 << 20);
	options.block_size = (uint32_t)need_number(facts, "block", UINT32_MAX);
	options.time = (uint32_t)need_number(facts, "time", UINT32_MAX);
	options.threads = (unsigned)need_number(facts, "threads", PACK_MAX_THREADS);
	if (!compressor || !options.threads)
		die(EINVAL, "role pack: a compressor and threads are needed");
	if (level && *level)
		options.level = (int)need_number(facts, "level", 1000);
	for (size_t at = 0; facts_next(facts->data, facts->size, &at, &fact) == 1;) {
		OWN const char *value = strndup(fact.value, fact.value_size);
		if (value && fact.key_size == 4 && !memcmp(fact.key, "flag", 4))
			set_flag(&options, value);
	}
	// Whoever sends the records removes the image when it is stopped; nobody may write into it then.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pack_image(input, target, &options, &result, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	facts_addf(&answer, "size", "%llu", (unsigned long long)result.size);
	facts_addf(&answer, "inodes", "%u", result.inodes);
	facts_addf(&answer, "bytes-used", "%llu", (unsigned long long)result.bytes_used);
	if (frame_write(1, &answer, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	return 0;
}
