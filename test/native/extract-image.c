// SPDX-License-Identifier: Apache-2.0
// Unpacks an image into a new directory, or empties a directory.
// Usage: extract-image [-t THREADS] [-o] [-p] [-O OFFSET] FILE DIR      (-o: keep owners, -p: show progress)
//        extract-image -r DIR                                          (remove what is in DIR, then DIR)
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extract.h"

static void show(void *arg, uint64_t done, uint64_t total) {
	unsigned *calls = arg;
	++*calls;
	fprintf(stderr, "progress %llu/%llu\n", (unsigned long long)done, (unsigned long long)total);
}

static int remove_all(const char *path) {
	struct fault why = { 0 };
	OWN_FD dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		die(errno, "open %s", path);
	if (remove_tree(dir, &why))
		fault_die(&why, 5);
	return rmdir(path) ? 6 : 0;
}

int main(int argc, char **argv) {
	struct extract_options options = { 0 };
	struct extract_report report;
	struct fault why = { 0 };
	struct image *image;
	struct stat file;
	uint64_t offset = 0;
	unsigned calls = 0;
	int option;
	while ((option = getopt(argc, argv, "t:opO:r:")) != -1) {
		switch (option) {
		case 't': options.threads = (unsigned)atoi(optarg); break;
		case 'o': options.keep_owners = 1; break;
		case 'p': options.progress = show; options.arg = &calls; break;
		case 'O': offset = strtoull(optarg, NULL, 0); break;
		case 'r': return remove_all(optarg);
		default: return 2;
		}
	}
	if (argc - optind != 2)
		return 2;
	OWN_FD fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &file))
		die(errno, "open %s", argv[optind]);
	if (image_open(&image, fd, offset, (uint64_t)file.st_size - offset, 0, &why))
		fault_die(&why, 3);
	if (mkdir(argv[optind + 1], 0700))
		die(errno, "create %s", argv[optind + 1]);
	OWN_FD dir = open(argv[optind + 1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	int status = extract_tree(image, dir, &options, &report, &why);
	image_close(image);
	if (status) {
		fault_print(&why);
		return 4;
	}
	printf("files=%llu bytes=%llu skipped-devices=%llu skipped-xattrs=%llu\n", (unsigned long long)report.files,
		(unsigned long long)report.bytes, (unsigned long long)report.skipped_devices, (unsigned long long)report.skipped_xattrs);
	return 0;
}
