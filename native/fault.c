// SPDX-License-Identifier: Apache-2.0
// Errors as data, and the few functions that print them.
#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fault(struct fault *why, int error, const char *format, ...) {
	va_list list;
	if (!why)
		return -1;
	why->error = error;
	why->hint[0] = 0;
	va_start(list, format);
	vsnprintf(why->text, sizeof why->text, format, list);
	va_end(list);
	return -1;
}

int fault_hint(struct fault *why, const char *format, ...) {
	va_list list;
	if (!why)
		return -1;
	va_start(list, format);
	vsnprintf(why->hint, sizeof why->hint, format, list);
	va_end(list);
	return -1;
}

void hide_controls(char *text) {
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
		else if (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)
			c[0] = c[1] = '?';
	}
}

// One write for one message, so that lines of several processes do not mix.
static void put(const char *line, size_t size) {
	int saved = errno;
	while (size) {
		ssize_t done = write(STDERR_FILENO, line, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			break;
		line += done;
		size -= (size_t)done;
	}
	errno = saved;
}

void fault_print(const struct fault *why) {
	char line[1400];
	size_t size = (size_t)snprintf(line, sizeof line, "bundler: %s", why->text);
	if (why->error)
		size += (size_t)snprintf(line + size, sizeof line - size, ": %s", strerror(why->error));
	size += (size_t)snprintf(line + size, sizeof line - size, "\n");
	if (why->hint[0])
		size += (size_t)snprintf(line + size, sizeof line - size, "  try: %s\n", why->hint);
	put(line, size);
}

void fault_die(const struct fault *why, int status) {
	fault_print(why);
	_exit(status);
}

void die(int error, const char *format, ...) {
	struct fault why = { .error = error };
	va_list list;
	va_start(list, format);
	vsnprintf(why.text, sizeof why.text, format, list);
	va_end(list);
	fault_die(&why, EXIT_OWN_FAILURE);
}

void warn(const char *format, ...) {
	struct fault why = { 0 };
	va_list list;
	va_start(list, format);
	vsnprintf(why.text, sizeof why.text, format, list);
	va_end(list);
	fault_print(&why);
}

void close_fd(int *fd) {
	int saved = errno;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void free_pointer(void *pointer_to_pointer) {
	void **pointer = pointer_to_pointer;
	free(*pointer);
	*pointer = NULL;
}
