// SPDX-License-Identifier: Apache-2.0
// Unpacking: one walker, a bounded queue, and a worker a CPU.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "extract_inside.h"

#define MAX_THREADS 64u
#define QUEUE_JOBS 128u
#define PROGRESS_INTERVAL_NS 100000000ll

struct worker { struct extraction *run; struct image_reader *reader; pthread_t thread; };

// "usr/lib/x" of a place and a name, from the end to the front; a path too long loses its beginning.
static const char *path_of(const struct place *place, const char *name, char *buffer, size_t size) {
	char *at = buffer + size - 1;
	*at = 0;
	for (const char *part = name; part || (place && place->parent); part = NULL) {
		if (!part) {
			part = place->name;
			place = place->parent;
		}
		size_t length = strlen(part);
		if (length + 1 > (size_t)(at - buffer))
			break;
		if (*at)
			*--at = '/';
		at -= length;
		memcpy(at, part, length);
	}
	return *at ? at : "the root directory";
}

int extract_fail(struct extraction *run, int error, const struct place *place, const char *name, uint64_t bytes, const char *format, ...) {
	char what[128], path[360];
	va_list list;
	va_start(list, format);
	vsnprintf(what, sizeof what, format, list);
	va_end(list);
	pthread_mutex_lock(&run->lock);
	if (!atomic_exchange(&run->failed, true)) {
		const char *where = path_of(place, name, path, sizeof path);
		if (bytes)
			fault(run->why, error, "%s %s (%llu bytes)", what, where, (unsigned long long)bytes);
		else
			fault(run->why, error, "%s %s", what, where);
	}
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
	return -1;
}

void give_job(struct extraction *run, struct job *job) {
	pthread_mutex_lock(&run->lock);
	while (run->queued >= run->queue_limit && !atomic_load(&run->failed))
		pthread_cond_wait(&run->changed, &run->lock);
	if (run->last)
		run->last->next = job;
	else
		run->first = job;
	run->last = job;
	run->queued++;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

// The next job; NULL when the walk has ended and none is left. After a failure jobs still pass, so that what they hold is given back.
static struct job *take_job(struct extraction *run) {
	pthread_mutex_lock(&run->lock);
	while (!run->first && !run->closed)
		pthread_cond_wait(&run->changed, &run->lock);
	struct job *job = run->first;
	if (job) {
		run->first = job->next;
		if (!run->first)
			run->last = NULL;
		if (run->queued-- == run->queue_limit)
			pthread_cond_broadcast(&run->changed);
	}
	pthread_mutex_unlock(&run->lock);
	return job;
}

static void *work(void *arg) {
	struct worker *worker = arg;
	struct extraction *run = worker->run;
	struct job *job;
	while ((job = take_job(run))) {
		do_job(run, worker->reader, job);
		place_leave(run, worker->reader, job->place);
		free(job);
	}
	pthread_mutex_lock(&run->lock);
	run->working--;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
	return NULL;
}

void show_progress(struct extraction *run) {
	struct timespec now;
	if (!run->options->progress)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t now_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
	if (now_ns - run->shown_ns < PROGRESS_INTERVAL_NS)
		return;
	run->shown_ns = now_ns;
	run->options->progress(run->options->arg, atomic_load(&run->bytes_done), run->bytes_total);
}

// Waits for the workers, showing progress meanwhile.
static void drain(struct extraction *run) {
	pthread_mutex_lock(&run->lock);
	run->closed = 1;
	pthread_cond_broadcast(&run->changed);
	while (run->working) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += PROGRESS_INTERVAL_NS;
		if (until.tv_nsec >= 1000000000l) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000l;
		}
		pthread_cond_timedwait(&run->changed, &run->lock, &until);
		pthread_mutex_unlock(&run->lock);
		show_progress(run);
		pthread_mutex_lock(&run->lock);
	}
	pthread_mutex_unlock(&run->lock);
}

static unsigned count_cpus(void) {
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set))
		return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	return (unsigned)CPU_COUNT(&set);
}

static unsigned start_workers(struct extraction *run, struct worker *worker, unsigned wanted) {
	unsigned count = 0;
	for (; count < wanted; count++) {
		worker[count] = (struct worker){ .run = run, .reader = image_reader_new(run->image) };
		if (!worker[count].reader)
			break;
		run->working++;
		if (pthread_create(&worker[count].thread, NULL, work, &worker[count])) {
			run->working--;
			image_reader_free(worker[count].reader);
			break;
		}
	}
	return count;
}

static int extract_with(struct extraction *run, struct image_reader *reader, int root) {
	struct worker worker[MAX_THREADS];
	unsigned wanted = run->options->threads ? run->options->threads : count_cpus();
	if (wanted > MAX_THREADS)
		wanted = MAX_THREADS;
	// Fewer threads than wanted will do; none will not.
	pthread_mutex_lock(&run->lock);
	unsigned count = start_workers(run, worker, wanted ? wanted : 1);
	pthread_mutex_unlock(&run->lock);
	if (!count) {
		close(root);
		return fault(run->why, EAGAIN, "start a thread to unpack the image");
	}
	walk_image(run, reader, root);
	drain(run);
	for (unsigned i = 0; i < count; i++) {
		pthread_join(worker[i].thread, NULL);
		image_reader_free(worker[i].reader);
	}
	if (!atomic_load(&run->failed))
		finish_late(run, reader);
	if (run->options->progress && !atomic_load(&run->failed))
		run->options->progress(run->options->arg, run->bytes_total, run->bytes_total);
	free_places(run);
	return atomic_load(&run->failed) ? -1 : 0;
}

static void add_hint(struct extraction *run) {
	uint64_t bytes = 0;
	switch (run->why->error) {
	case ENOSPC:
	case EDQUOT:
		if (!measure_image(run->image, &bytes))
			fault_hint(run->why, "a directory with %llu bytes free: the image unpacks to that, and %llu were written",
				(unsigned long long)bytes, (unsigned long long)atomic_load(&run->bytes_done));
		break;
	case EMFILE:
		fault_hint(run->why, "a higher limit of open files (ulimit -n)");
		break;
	case EEXIST:
		fault_hint(run->why, "a directory elsewhere, if this file system takes upper and lower case for the same; else the image has this name twice");
		break;
	case 0:
		fault_hint(run->why, "checking the file for damage (--verify); if it has none, what made the image is at fault");
		break;
	case EIO:
		fault_hint(run->why, "checking the file for damage (--verify)");
		break;
	default:
		break;
	}
}

int extract_tree(struct image *image, int dir, const struct extract_options *options, struct extract_report *report, struct fault *why) {
	struct extraction run = { .image = image, .options = options, .report = report, .why = why, .queue_limit = QUEUE_JOBS };
	struct rlimit limit, raised;
	memset(report, 0, sizeof *report);
	why->hint[0] = 0;
	// The descriptor may be O_PATH; this one may change the directory.
	int root = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fault(why, errno, "open the directory to unpack into");
	if (options->progress && measure_image(image, &run.bytes_total))
		run.bytes_total = 0;
	struct image_reader *reader = image_reader_new(image);
	if (!reader) {
		close(root);
		return fault(why, ENOMEM, "unpack the image");
	}
	pthread_mutex_init(&run.lock, NULL);
	pthread_cond_init(&run.changed, NULL);
	// Every directory on the way and those of queued files are open; the caller gets its own limit back.
	int changed = !getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max;
	raised = limit;
	raised.rlim_cur = limit.rlim_max;
	changed = changed && !setrlimit(RLIMIT_NOFILE, &raised);
	int status = extract_with(&run, reader, root);
	if (changed)
		setrlimit(RLIMIT_NOFILE, &limit);
	if (status)
		add_hint(&run);
	image_reader_free(reader);
	known_free_data(&run.seen);
	pthread_cond_destroy(&run.changed);
	pthread_mutex_destroy(&run.lock);
	return status;
}
