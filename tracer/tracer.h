// SPDX-License-Identifier: Apache-2.0
// A library that the loader puts in front of proot's own calls into libc. proot forks, traces its child and stays the visible process; with this the
// process that the user started is traced from outside and becomes the command itself, so that its pid, exit status, signals and job control are true.
#pragma once
#include <stdbool.h>

// Set from the environment by native/run_proot.c, and taken out of it before anything else runs.
extern int tracer_job;     // descriptor of the facts that say what to run
extern int tracer_hold, tracer_lock;   // descriptors that proot keeps open for as long as it traces, or -1
extern bool tracer_is_tracee;

// Becomes the command of the job, in the process that is traced by now: every path below is one of the container. Does not return.
_Noreturn void tracer_run(void);
