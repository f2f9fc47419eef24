// SPDX-License-Identifier: Apache-2.0
// Mounts an image through the file server in user and mount namespaces of its own and becomes a command, as a launch does:
//   serve-mount [-o OFFSET] [-s SIZE] [-t THREADS] [-c CACHE_BYTES] [-0] [-x] [-n] [-e KIND:MODE:PATH[:DATA]].. IMAGE TARGET COMMAND..
// -0 maps the user to root; -x adopts orphans first (PR_SET_CHILD_SUBREAPER); -n makes no namespaces (needs root);
// -e KIND is dir, file, symlink or mountpoint, MODE octal.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../../native/fault.h"
#include "../../native/plan.h"
#include "../../native/serve.h"

enum { MAX_ENTRIES = 4096 };

static void write_text(const char *path, const char *text)
{
	OWN_FD fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die(errno, "write %s", path);
}

static struct serve_entry parse_entry(char *text)
{
	static const char *const kinds[] = { NULL, "dir", "file", "symlink", "mountpoint" };
	struct serve_entry entry = { .data = "" };
	char *kind = strsep(&text, ":"), *mode = strsep(&text, ":"), *path = strsep(&text, ":");

	if (!path)
		die(EINVAL, "read an entry");
	for (uint32_t i = 1; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(kind, kinds[i]) == 0)
			entry.kind = i;
	entry.mode = (uint32_t)strtoul(mode, NULL, 8);
	entry.path = path;
	if (text) {
		entry.data = text;
		entry.size = strlen(text);
	}
	return entry;
}

static void enter_namespaces(int as_root)
{
	uid_t uid = getuid();
	gid_t gid = getgid();
	char text[64];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		die(errno, "unshare");
	write_text("/proc/self/setgroups", "deny");
	snprintf(text, sizeof text, "%u %u 1", as_root ? 0 : uid, uid);
	write_text("/proc/self/uid_map", text);
	snprintf(text, sizeof text, "%u %u 1", as_root ? 0 : gid, gid);
	write_text("/proc/self/gid_map", text);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
		die(errno, "make / a slave");
}

int main(int argc, char **argv)
{
	static struct serve_entry entry[MAX_ENTRIES];
	struct serve_config config = { .entry = entry };
	struct fault why = { .error = 0 };
	int option, as_root = 0, namespaces = 1, socket;
	struct stat status;

	while ((option = getopt(argc, argv, "+o:s:t:c:e:0xn")) != -1) {
		switch (option) {
		case 'o': config.offset = strtoull(optarg, NULL, 10); break;
		case 's': config.size = strtoull(optarg, NULL, 10); break;
		case 't': config.threads = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'c': config.cache_bytes = strtoull(optarg, NULL, 10); break;
		case 'e':
			if (config.entry_count == MAX_ENTRIES)
				die(E2BIG, "too many entries");
			entry[config.entry_count++] = parse_entry(strdup(optarg));
			break;
		case '0': as_root = 1; break;
		case 'x': prctl(PR_SET_CHILD_SUBREAPER, 1); break;
		case 'n': namespaces = 0; break;
		default: return 2;
		}
	}
	if (argc - optind < 3)
		die(EINVAL, "usage: serve-mount [options] IMAGE TARGET COMMAND");
	config.file = open(argv[optind], O_RDONLY | O_CLOEXEC);
	if (config.file < 0 || fstat(config.file, &status) != 0)
		die(errno, "open %s", argv[optind]);
	if (config.size == 0)
		config.size = (uint64_t)status.st_size - config.offset;
	config.uid = as_root ? 0 : getuid();
	config.gid = as_root ? 0 : getgid();
	socket = serve_start(&config, &why);
	if (socket < 0)
		fault_die(&why, EXIT_OWN_FAILURE);
	close(config.file);
	if (namespaces)
		enter_namespaces(as_root);
	if (serve_mount(socket, argv[optind + 1], MS_NOSUID | MS_NODEV, false, &why) != 0)
		fault_die(&why, EXIT_OWN_FAILURE);
	if (chdir(argv[optind + 1]) != 0)
		die(errno, "enter %s", argv[optind + 1]);
	execvp(argv[optind + 2], argv + optind + 2);
	die(errno, "exec %s", argv[optind + 2]);
}
