// SPDX-License-Identifier: Apache-2.0
// A plan that goes on in a child: what passes to it, and what stays with the supervisor.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "run.h"
#include "supervise.h"

// Hooks are told the container's process by its number on the host, which is not the one it has in its own namespace. /proc is still the host's.
static void renumber_hooks(const struct run *run)
{
	static char told[32];
	char number[16] = "";

	if (readlink("/proc/self", number, sizeof number - 1) <= 0)
		return;
	snprintf(told, sizeof told, "ENROOT_PID=%s", number);
	for (size_t i = 0; i < run->plan->count; i++) {
		const struct plan_field *env = &run->plan->op[i].field[2];
		for (size_t at = 0; run->plan->op[i].code == OP_HOOK && at < env->count; at++) {
			if (strncmp(env->list[at], "ENROOT_PID=", 11) == 0)
				env->list[at] = told;
		}
	}
}

int run_supervised(struct run *run, const struct plan_op *op, struct fault *why)
{
	bool resumes = plan_resumes(run->plan);
	const struct supervise_orders orders = {
		.init = op->field[1].number & SUPERVISE_INIT, .term_signal = (int)op->field[0].number,
		.parent_death_signal = run->parent_death_signal, .parent = run->parent,
		// The planner is the supervisor's child, and its to reap; one that is needed once more ends by itself.
		.finish = run->end && !resumes ? run->end->finish : NULL, .arg = run->end ? run->end->arg : NULL,
	};

	if (supervise_fork(&orders, &run->line, why) < 0)
		return -1;
	if (run->end && run->end->disown)
		run->end->disown(run->end->arg);
	run->parent = getppid();
	run->parent_death_signal = SIGKILL;
	renumber_hooks(run);
	return 0;
}

int run_below_init(struct run *run, struct fault *why)
{
	if (run->line < 0)
		return fault(why, 0, "obey the launch plan: init without supervise");
	if (supervise_init(run->line, why) < 0)
		return -1;
	// this process dies with the init, and need not hear of the supervisor
	close_fd(&run->line);
	run->parent = getppid();
	return 0;
}
