// SPDX-License-Identifier: Apache-2.0
#include "serve_order.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "passing.h"
#include "wire.h"

enum { ORDER_WIRE = 1, MAX_ORDER_BYTES = WIRE_MAX_FRAME };

// Both sides are the same program: the order is as it lies in memory. Its entries follow, each with its path and its data.
struct order {
	uint32_t wire, uid, gid, threads;
	uint32_t image_owners, is_shared;
	uint64_t entry_count;
	char name[MEETING_NAME_SIZE];
	unsigned char key[MEETING_KEY_SIZE];
};
struct order_entry { uint32_t kind, mode; uint64_t path_size, size; };

static void add_entry(struct buffer *order, const struct serve_entry *entry)
{
	const struct order_entry head = { entry->kind, entry->mode, strlen(entry->path) + 1, entry->size };

	buffer_add(order, &head, sizeof head);
	buffer_add(order, entry->path, head.path_size);
	buffer_add(order, entry->data, head.size);
}

static int keep_in_memory(const struct buffer *order)
{
	OWN_FD file = memfd_create("bundler-order", MFD_CLOEXEC);
	int made = file;

	if (file < 0 || write_exactly(file, order->data, order->size) < 0)
		return -1;
	file = -1;
	return made;
}

int serve_order_send(int socket, const struct serve_config *config)
{
	struct order head = {
		.wire = ORDER_WIRE, .uid = config->uid, .gid = config->gid, .threads = config->threads, .image_owners = config->image_owners,
		.is_shared = config->keeper != NULL, .entry_count = config->entry_count,
	};
	struct buffer order = { 0 };
	OWN_FD file = -1;

	if (config->keeper) {
		memcpy(head.name, config->keeper->name, sizeof head.name);
		memcpy(head.key, config->keeper->key, sizeof head.key);
	}
	buffer_add(&order, &head, sizeof head);
	for (size_t i = 0; i < config->entry_count; i++)
		add_entry(&order, &config->entry[i]);
	file = keep_in_memory(&order);
	buffer_free(&order);
	if (file < 0)
		return -1;
	int passed[1 + KEEPER_FDS] = { file };
	if (config->keeper) {
		passed[1] = config->keeper->dir;
		passed[2] = config->keeper->listener;
		passed[3] = config->keeper->control;
	}
	return pass_send(socket, "o", 1, passed, config->keeper ? 1 + KEEPER_FDS : 1);
}

// The bytes between *at and *at + size, which is moved behind them; NULL when there are not so many.
static const void *take(const char *order, size_t total, size_t *at, uint64_t size)
{
	const char *taken = order + *at;

	if (size > total - *at)
		return NULL;
	*at += (size_t)size;
	return taken;
}

static int read_entries(const char *order, size_t total, struct serve_config *config)
{
	struct serve_entry *entries = calloc(config->entry_count + 1, sizeof *entries);
	size_t at = sizeof(struct order);

	config->entry = entries;
	if (!entries)
		return -1;
	for (size_t i = 0; i < config->entry_count; i++) {
		struct order_entry head;
		const void *own = take(order, total, &at, sizeof head);
		if (!own)
			return -1;
		memcpy(&head, own, sizeof head);
		entries[i] = (struct serve_entry){ .kind = head.kind, .mode = head.mode, .size = head.size };
		entries[i].path = take(order, total, &at, head.path_size);
		entries[i].data = entries[i].path ? take(order, total, &at, head.size) : NULL;
		if (!entries[i].data || head.path_size == 0 || entries[i].path[head.path_size - 1])
			return -1;
	}
	return 0;
}

// An order that cannot be read is one that nobody of ours sent.
static int read_order(int file, struct serve_config *config, struct keeper *keeper)
{
	off_t size = lseek(file, 0, SEEK_END);
	struct order head;
	const char *order;

	if (size < (off_t)sizeof head || size > MAX_ORDER_BYTES)
		return -1;
	order = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, file, 0);
	if (order == MAP_FAILED)
		return -1;
	memcpy(&head, order, sizeof head);
	if (head.wire != ORDER_WIRE || head.entry_count > (uint64_t)size / sizeof(struct order_entry))
		return -1;
	config->uid = head.uid;
	config->gid = head.gid;
	config->threads = head.threads;
	config->image_owners = head.image_owners;
	config->entry_count = (size_t)head.entry_count;
	config->keeper = head.is_shared ? keeper : NULL;
	memcpy(keeper->name, head.name, sizeof keeper->name);
	memcpy(keeper->key, head.key, sizeof keeper->key);
	return read_entries(order, (size_t)size, config);
}

int serve_order_receive(int socket, struct serve_config *config, struct keeper *keeper)
{
	int passed[1 + KEEPER_FDS], status;
	char byte;

	if (pass_receive(socket, &byte, 1, passed, 1 + KEEPER_FDS) <= 0)
		return -1;
	keeper->dir = passed[1];
	keeper->listener = passed[2];
	keeper->control = passed[3];
	status = read_order(passed[0], config, keeper);
	close_fd(&passed[0]);
	return status;
}
