// SPDX-License-Identifier: Apache-2.0
// Paths inside a root filesystem that is not trusted: symlinks are followed within it, never out of it.
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { PATH_NOFOLLOW = 1, PATH_DIRECTORY = 2 };   // the last component: a symlink is itself; must be a directory
enum path_kind { PATH_MAKE_DIR, PATH_MAKE_FILE };

// All return an O_PATH|O_CLOEXEC descriptor, or -1 with errno. root: a descriptor of the root directory. Absolute and relative paths mean the same.
int path_resolve(int root, const char *path, unsigned flags);

// As path_resolve, but makes what is missing: parents as directories of mode 0755, the last component as kind says, with mode (umask applies).
// What is there already is taken as it is.
int path_create(int root, const char *path, enum path_kind kind, mode_t mode);

// The directory that holds the last component, whose name is put in name; missing parents are made. The last component is not looked at.
int path_parent(int root, const char *path, char name[NAME_MAX + 1]);

// "/proc/self/fd/N": the only way mount(2) takes a descriptor on every kernel.
#define FD_PATH_SIZE 32
const char *fd_path(char buffer[FD_PATH_SIZE], int fd);
