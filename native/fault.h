// SPDX-License-Identifier: Apache-2.0
// Errors: what failed, on what, why, what to try. Library functions fill a struct fault; only the story-telling top prints it.
#pragma once
#include <stdbool.h>

enum { EXIT_OWN_FAILURE = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

struct fault {
	int error;        // errno, or 0 where none applies
	char text[512];   // what failed, on what: "mount /proc on /proc"
	char hint[512];   // what to try; may be empty
};

// Fills why (text from the format, errno from `error`) and returns -1, so that `return fault(why, errno, "open %s", path);` reads well.
__attribute__((format(printf, 3, 4))) int fault(struct fault *why, int error, const char *format, ...);
// Adds or replaces the hint; returns -1.
__attribute__((format(printf, 2, 3))) int fault_hint(struct fault *why, const char *format, ...);

// Prints "bundler: TEXT: STRERROR" and "  try: HINT" on stderr.
void fault_print(const struct fault *why);
// fault_print, then _exit(status).
_Noreturn void fault_die(const struct fault *why, int status);
// The same in one call, with status 125.
__attribute__((format(printf, 2, 3))) _Noreturn void die(int error, const char *format, ...);
__attribute__((format(printf, 1, 2))) void warn(const char *format, ...);

// Puts '?' for what may steer a terminal in a text with names of strangers: control codes, also those that are two bytes of UTF-8 (U+0080 to U+009F).
void hide_controls(char *text);

// cleanup attribute: __attribute__((cleanup(close_fd))) int fd = -1;
void close_fd(int *fd);
void free_pointer(void *pointer_to_pointer);
#define OWN_FD __attribute__((cleanup(close_fd))) int
#define OWN __attribute__((cleanup(free_pointer)))
