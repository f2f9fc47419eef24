// SPDX-License-Identifier: Apache-2.0
// The last steps inside the container: working directory, environment, command.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exec.h"
#include "tracer.h"
#include "wire.h"

struct job { char **argv, **env; size_t args, vars; char *search, *cwd, *placeholder; bool create, optional; };

static char *copy(const struct fact *fact)
{
	char *text = strndup(fact->value, fact->value_size);

	if (!text)
		die(ENOMEM, "run the command");
	return text;
}

static void add(char ***list, size_t *count, const struct fact *fact)
{
	*list = realloc(*list, (*count + 2) * sizeof **list);
	if (!*list)
		die(ENOMEM, "run the command");
	(*list)[(*count)++] = copy(fact);
	(*list)[*count] = NULL;
}

static bool is(const struct fact *fact, const char *key)
{
	return fact->key_size == strlen(key) && memcmp(fact->key, key, fact->key_size) == 0;
}

static void read_job(int fd, struct job *job)
{
	struct fault why;
	struct buffer facts = {0};
	struct fact fact;
	size_t at = 0;

	// frame_read expects a stream: the writer left the offset at the end
	if (lseek(fd, 0, SEEK_SET) < 0 || frame_read(fd, &facts, &why) < 0)
		die(errno, "read what to run");
	close(fd);
	while (facts_next(facts.data, facts.size, &at, &fact) == 1) {
		if (is(&fact, "arg"))
			add(&job->argv, &job->args, &fact);
		else if (is(&fact, "var"))
			add(&job->env, &job->vars, &fact);
		else if (is(&fact, "search"))
			job->search = copy(&fact);
		else if (is(&fact, "cwd"))
			job->cwd = copy(&fact);
		else if (is(&fact, "placeholder"))
			job->placeholder = copy(&fact);
		else if (is(&fact, "create"))
			job->create = true;
		else if (is(&fact, "optional"))
			job->optional = true;
	}
	buffer_free(&facts);
}

static void make_directories(const char *path)
{
	char *name = strdup(path);
	mode_t mask = umask(0);

	for (char *slash = name ? strchr(name + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(name, 0755);
		*slash = '/';
	}
	mkdir(path, 0755);
	umask(mask);
	free(name);
}

static void enter(const struct job *job)
{
	struct fault why;

	if (!job->cwd)
		return;
	if (job->create)
		make_directories(job->cwd);
	if (chdir(job->cwd) == 0 || job->optional)
		return;
	fault(&why, errno, "enter the working directory %s", job->cwd);
	fault_die(&why, EXIT_OWN_FAILURE);
}

void tracer_run(void)
{
	static char *nothing[] = {NULL};
	struct job job = {0};
	struct fault why;
	int status;

	read_job(tracer_job, &job);
	if (job.placeholder)
		unlink(job.placeholder);
	enter(&job);
	status = exec_command(job.argv ? job.argv : nothing, job.env ? job.env : nothing, job.search ? job.search : "", &why);
	fault_die(&why, status);
}
