// SPDX-License-Identifier: Apache-2.0
// Role copy: ranges of open files copied into one target, hashed on the way by every CPU. What is wanted to know of an image is read meanwhile.
#include "roles.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "read_image.h"
#include "sha256.h"

enum {
	LEAF = 65536, DIGEST = 32,   // docs/format.md, the hash tree
	CHUNK = 4 * LEAF,            // stays in the CPU's cache between reading, hashing and writing
	PIECE = 64 * LEAF,           // what a thread takes at once of a range with leaves
	MAX_RANGES = 8, MAX_THREADS = 4, REPORT_MS = 100,
};

struct range {
	int source;
	uint64_t offset, size, target_offset;
	int by_leaf;                 // a digest a leaf; else one of the whole range
	uint8_t *digest;
	uint64_t next;               // the first byte that nobody has taken
};

// An image to look at, by whichever thread comes first.
struct look {
	int source;                  // -1: none
	uint64_t offset, size;
	const struct buffer *questions;
	struct buffer answers;
};

struct copy {
	int target;
	struct look look;
	struct range range[MAX_RANGES];
	size_t count;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t done;
	unsigned working;
	int error;                   // the first thread's; 0: none
	char failed[64];
};

// The next part of a range to copy; a range with one digest is one part. 0: nothing is left.
static uint64_t take_part(struct copy *copy, struct range **range, uint64_t *at)
{
	uint64_t size = 0;
	pthread_mutex_lock(&copy->lock);
	for (size_t i = 0; i < copy->count && !size && !copy->error; i++) {
		*range = &copy->range[i];
		*at = (*range)->next;
		uint64_t left = (*range)->size - *at;
		size = (*range)->by_leaf && left > PIECE ? PIECE : left;
		(*range)->next += size;
	}
	pthread_mutex_unlock(&copy->lock);
	return size;
}

static void note_done(struct copy *copy, uint64_t size)
{
	pthread_mutex_lock(&copy->lock);
	copy->done += size;
	pthread_mutex_unlock(&copy->lock);
}

static void note_failure(struct copy *copy, int error, const char *what)
{
	pthread_mutex_lock(&copy->lock);
	if (!copy->error) {
		copy->error = error;
		snprintf(copy->failed, sizeof copy->failed, "%s", what);
	}
	pthread_mutex_unlock(&copy->lock);
}

static int write_at(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size) {
		ssize_t done = pwrite(fd, data, size, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		data += done, size -= (size_t)done, offset += (uint64_t)done;
	}
	return 0;
}

// A window of the source in memory: hashing it and writing it then read what the page cache has, without a copy in between.
static const uint8_t *map_source(const struct range *range, uint64_t at, size_t size, void **mapping, size_t *mapped)
{
	uint64_t start = range->offset + at, page = start & ~(uint64_t)4095;
	*mapped = size + (size_t)(start - page);
	*mapping = mmap(NULL, *mapped, PROT_READ, MAP_SHARED | MAP_POPULATE, range->source, (off_t)page);
	return *mapping == MAP_FAILED ? NULL : (const uint8_t *)*mapping + (start - page);
}

static int copy_window(struct copy *copy, const struct range *range, uint64_t at, size_t size, struct sha256 *whole)
{
	void *mapping;
	size_t mapped;
	const uint8_t *data = map_source(range, at, size, &mapping, &mapped);
	if (!data) {
		note_failure(copy, errno, "read the source");
		return -1;
	}
	int failed = 0;
	for (size_t done = 0; done < size && !failed; done += CHUNK) {
		size_t part = size - done < CHUNK ? size - done : CHUNK;
		if (!range->by_leaf)
			sha256_update(whole, data + done, part);
		for (size_t leaf = 0; range->by_leaf && leaf < part; leaf += LEAF)
			sha256_of(data + done + leaf, part - leaf < LEAF ? part - leaf : LEAF, range->digest + (at + done + leaf) / LEAF * DIGEST);
		failed = write_at(copy->target, data + done, part, range->target_offset + at + done);
		if (failed)
			note_failure(copy, errno, "write the target");
		else
			note_done(copy, part);
	}
	munmap(mapping, mapped);
	return failed;
}

static int copy_part(struct copy *copy, struct range *range, uint64_t at, uint64_t size)
{
	struct sha256 whole;
	sha256_init(&whole);
	for (uint64_t done = 0; done < size; done += PIECE)
		if (copy_window(copy, range, at + done, size - done < PIECE ? (size_t)(size - done) : PIECE, &whole))
			return -1;
	if (!range->by_leaf)
		sha256_final(&whole, range->digest);
	// The disk begins now, so that the sync at the end is short.
	sync_file_range(copy->target, (off_t)(range->target_offset + at), (off_t)size, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static void look_at_image(struct copy *copy)
{
	struct look *look = &copy->look;
	struct fault why = { 0 };
	pthread_mutex_lock(&copy->lock);
	int source = look->source;
	look->source = -1;
	pthread_mutex_unlock(&copy->lock);
	if (source >= 0 && read_image(source, look->offset, look->size, look->questions, &look->answers, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
}

static void *work(void *arg)
{
	struct copy *copy = arg;
	struct range *range;
	uint64_t at, size;
	look_at_image(copy);
	while ((size = take_part(copy, &range, &at)) && !copy_part(copy, range, at, size))
		;
	pthread_mutex_lock(&copy->lock);
	copy->working--;
	pthread_cond_signal(&copy->changed);
	pthread_mutex_unlock(&copy->lock);
	return NULL;
}

// Only a page that is not there any more raises it: the source became shorter, or its disk failed.
static void stop_at_lost_page(int sig)
{
	static const char text[] = "bundler: read the source: it became shorter or its disk failed while it was read\n";
	(void)sig;
	(void)!write(2, text, sizeof text - 1);
	_exit(EXIT_OWN_FAILURE);
}

// The last page of a mapping hides an end before it: it is zeros.
static void refuse_short_sources(const struct copy *copy)
{
	for (size_t i = 0; i < copy->count; i++) {
		const struct range *range = &copy->range[i];
		struct stat st;
		if (fstat(range->source, &st))
			die(errno, "read the source");
		if ((uint64_t)st.st_size < range->offset || (uint64_t)st.st_size - range->offset < range->size)
			die(0, "read the source: it has %llu bytes, and %llu at %llu are wanted: it became shorter", (unsigned long long)st.st_size,
				(unsigned long long)range->size, (unsigned long long)range->offset);
	}
}

static void send_frame(struct buffer *facts)
{
	struct fault why = { 0 };
	if (frame_write(1, facts, &why))
		fault_die(&why, EXIT_OWN_FAILURE);
	buffer_free(facts);
}

static void report(struct copy *copy)
{
	struct buffer facts = { 0 };
	facts_addf(&facts, "done", "%llu", (unsigned long long)copy->done);
	send_frame(&facts);
}

// Runs the threads, as many as can be had, and reports now and then.
static void run(struct copy *copy)
{
	cpu_set_t cpus;
	pthread_t thread;
	unsigned wanted = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : (unsigned)CPU_COUNT(&cpus);
	pthread_mutex_lock(&copy->lock);
	for (unsigned i = 0; i < wanted && i < MAX_THREADS && !pthread_create(&thread, NULL, work, copy); i++)
		copy->working++;
	if (!copy->working)
		copy->error = EAGAIN, snprintf(copy->failed, sizeof copy->failed, "start a thread");
	while (copy->working) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += REPORT_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		if (pthread_cond_timedwait(&copy->changed, &copy->lock, &until) == ETIMEDOUT)
			report(copy);
	}
	pthread_mutex_unlock(&copy->lock);
}

static const char *text_of(const struct fact *fact, char *text, size_t size)
{
	snprintf(text, size, "%.*s", (int)fact->value_size, fact->value);
	return text;
}

// "FD OFFSET SIZE"
static int add_look(struct copy *copy, const struct fact *fact)
{
	char text[128], rest;
	unsigned long long offset, size;
	int source;
	if (sscanf(text_of(fact, text, sizeof text), "%d %llu %llu%c", &source, &offset, &size, &rest) != 3 || source < 0)
		return -1;
	copy->look.source = source;
	copy->look.offset = offset;
	copy->look.size = size;
	return 0;
}

// "FD OFFSET SIZE TARGET-OFFSET leaves|whole"
static int add_range(struct copy *copy, const struct fact *fact)
{
	char text[128], kind[8], rest;
	unsigned long long offset, size, target_offset;
	int source;
	if (copy->count == MAX_RANGES)
		return -1;
	if (sscanf(text_of(fact, text, sizeof text), "%d %llu %llu %llu %7s%c", &source, &offset, &size, &target_offset, kind, &rest) != 5)
		return -1;
	int by_leaf = !strcmp(kind, "leaves");
	size_t digests = by_leaf ? (size_t)((size + LEAF - 1) / LEAF) : 1;
	struct range range = { source, offset, size, target_offset, by_leaf, calloc(digests + 1, DIGEST), 0 };
	if (!range.digest)
		die(ENOMEM, "role copy");
	// A range without bytes is never taken, and its digest is that of nothing.
	if (!by_leaf)
		sha256_of("", 0, range.digest);
	copy->range[copy->count++] = range;
	return 0;
}

int copy_role(const struct buffer *facts)
{
	struct copy copy = {
		.look = { .source = -1, .questions = facts }, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
	};
	struct buffer out = { 0 };
	struct fact fact;
	uint64_t target;
	if (role_number(facts, "target", &target))
		die(EINVAL, "role copy: a target is needed");
	copy.target = (int)target;
	for (size_t at = 0; facts_next(facts->data, facts->size, &at, &fact) == 1;) {
		int is_range = fact.key_size == 5 && !memcmp(fact.key, "range", 5), is_image = fact.key_size == 5 && !memcmp(fact.key, "image", 5);
		if ((is_range && add_range(&copy, &fact)) || (is_image && add_look(&copy, &fact)))
			die(EINVAL, "role copy: %.*s", (int)fact.value_size, fact.value);
	}
	// The builder removes the target when it is stopped; whoever writes into it must not outlive the builder.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGBUS, stop_at_lost_page);
	refuse_short_sources(&copy);
	run(&copy);
	if (copy.error)
		die(copy.error, "%s", copy.failed);
	refuse_short_sources(&copy);
	for (size_t i = 0; i < copy.count; i++) {
		const struct range *range = &copy.range[i];
		facts_add(&out, "digests", range->digest, range->by_leaf ? (size_t)((range->size + LEAF - 1) / LEAF) * DIGEST : DIGEST);
		free(range->digest);
	}
	send_frame(&out);
	if (copy.look.answers.size)
		send_frame(&copy.look.answers);
	return 0;
}
