// SPDX-License-Identifier: Apache-2.0
// Where the root filesystem of a plan comes from: a file server, an extraction, a directory or a loop device.
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "overlay.h"
#include "run.h"
#include "watch.h"

// '' is the running executable. size 0: up to the end of the file.
static int open_image(const struct run *run, const char *path, uint64_t offset, uint64_t *size, struct fault *why)
{
	int fd = path[0] ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(run->exe, F_DUPFD_CLOEXEC, 3);
	struct stat facts;

	if (fd < 0)
		return fault(why, errno, "open %s", path[0] ? path : "the running executable");
	if (*size == 0 && fstat(fd, &facts) == 0 && (uint64_t)facts.st_size > offset)
		*size = (uint64_t)facts.st_size - offset;
	return fd;
}

// The one made in advance where it has the same image, else a new one.
static int start_server(struct run *run, const struct plan_op *op, const struct serve_config *config, struct fault *why)
{
	int ready = run->ready;
	bool is_same = run->end && op->field[0].size == 0 && config->offset == run->end->image_offset && config->size == run->end->image_size;

	run->ready = -1;
	if (ready >= 0 && is_same && serve_order(ready, config) == 0)
		return ready;
	close_fd(&ready);
	return serve_start(config, why);
}

int run_serve(struct run *run, const struct plan_op *op, struct fault *why)
{
	struct serve_config config = {
		.offset = op->field[1].number, .size = op->field[2].number, .uid = (uint32_t)op->field[3].number, .gid = (uint32_t)op->field[4].number,
		.threads = (unsigned)op->field[5].number, .cache_bytes = op->field[6].number,
		.image_owners = op->field[7].number & SERVE_OWNERS, .entry = run->entry, .entry_count = run->entry_count,
	};
	OWN_FD file = open_image(run, op->field[0].data, config.offset, &config.size, why);

	if (file < 0)
		return -1;
	config.file = file;
	run->server_owners = config.image_owners;
	switch (run_share(run, op, file)) {
	case SHARE_MEMBER:
		close_fd(&run->ready);
		return 0;
	case SHARE_FIRST:
		config.keeper = &run->share.keeper;
		break;
	case SHARE_ALONE:
		break;
	}
	run->server = start_server(run, op, &config, why);
	if (config.keeper)
		share_leave_to_server(&run->share, run->server >= 0);
	return run->server < 0 ? -1 : 0;
}

bool run_has_op(const struct run *run, enum plan_code code)
{
	for (size_t i = 0; i < run->plan->count; i++) {
		if (run->plan->op[i].code == code)
			return true;
	}
	return false;
}

int run_extract(struct run *run, const struct plan_op *op, struct fault *why)
{
	uint64_t flags = op->field[6].number;
	struct extraction_request request = {
		.offset = op->field[1].number, .size = op->field[2].number, .place = op->field[3].data, .target = op->field[4].data,
		.digest = op->field[5].data, .keep = flags & EXTRACT_KEEP, .reuse = flags & EXTRACT_REUSE, .quiet = flags & EXTRACT_QUIET,
		// with one uid mapped the image's other owners would be nobody
		.keep_owners = geteuid() == 0 && !run_has_op(run, OP_USERNS),
	};

	request.file = open_image(run, op->field[0].data, request.offset, &request.size, why);
	if (request.file < 0)
		return -1;
	if (!request.place[0] && !request.target[0]) {
		run->in_memory = true;
		run->unpack = request;
		return 0;
	}
	if (extraction_start(&run->extraction, &request, why) < 0)
		return -1;
	close_fd(&request.file);
	return 0;
}

int run_layer(struct run *run, const struct plan_op *op, struct fault *why)
{
	const struct layer_request request = {
		.place = op->field[0].data, .dir = op->field[1].data, .digest = op->field[2].data, .owners = op->field[3].data,
	};

	return layer_start(&run->layer, &request, why);
}

// An overlay's directory, made when missing.
static int open_directory(const char *path, struct fault *why)
{
	int fd;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return fault(why, errno, "make the directory %s", path);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fault(why, errno, "open the directory %s", path) : fd;
}

static int open_root_source(struct run *run, const struct plan_op *op, struct fault *why)
{
	const struct plan_field *field = op->field;

	if (field[0].number == ROOT_LOOP) {
		run->image_size = field[3].number;
		run->image = open_image(run, field[1].data, field[2].number, &run->image_size, why);
		return run->image < 0 ? -1 : 0;
	}
	if (field[0].number != ROOT_DIRECTORY || run->in_memory)
		return 0;
	if (field[1].size) {
		run->directory = open(field[1].data, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return run->directory < 0 ? fault(why, errno, "open the directory %s", field[1].data) : 0;
	}
	if (!run->extraction.path)
		return fault(why, 0, "mount the root filesystem: the plan names no directory");
	run->directory = extraction_open(&run->extraction, why);
	return run->directory < 0 ? -1 : 0;
}

static int open_overlay_sources(struct run *run, const struct plan_op *op, struct fault *why)
{
	if (op->field[0].size == 0)
		return run->layer.path ? layer_open(&run->layer, &run->upper, &run->work, why) : 0;
	run->upper = open_directory(op->field[0].data, why);
	run->work = run->upper < 0 ? -1 : open_directory(op->field[1].data, why);
	return run->work < 0 ? -1 : 0;
}

int run_open_sources(struct run *run, struct fault *why)
{
	run->rootfs.spare = run->rootfs.spare || run_has_op(run, OP_HOOK);
	if (run_has_op(run, OP_ROOT) && rootfs_choose_base(&run->rootfs, why) < 0)
		return -1;
	for (size_t i = 0; i < run->plan->count; i++) {
		const struct plan_op *op = &run->plan->op[i];
		if (op->code == OP_MOUNT) {
			run->mounts[i] = mount_request_of(op);
			mount_open_source(&run->mounts[i]);
			if (run->mounts[i].source_fd >= 0 && rootfs_covers(&run->rootfs, run->mounts[i].source_fd))
				mount_clone_source(&run->mounts[i]);
		} else if (op->code == OP_OVERLAY && open_overlay_sources(run, op, why) < 0) {
			return -1;
		} else if (op->code == OP_ROOT && open_root_source(run, op, why) < 0) {
			return -1;
		}
	}
	return 0;
}

// Has a process that keeps something on disk stay until the container's end. control: to it, or -1.
static int hand_over(struct run *run, int *control, struct fault *why)
{
	int watched = *control < 0 ? 0 : watch_hand_over(control, run->rootfs.staging, why);

	if (watched < 0)
		return -1;
	run->rootfs.keep_staging |= watched;
	return 0;
}

// A tmpfs of our own, where the plan needs one.
static int stage(struct run *run, struct fault *why)
{
	uint64_t size = 0;
	bool in_tmpfs = false, hooks = run_has_op(run, OP_HOOK) || run_has_op(run, OP_STAGE);
	bool needed = run->in_memory || run->extraction.control >= 0 || run->layer.control >= 0 || run_has_op(run, OP_INJECT) || hooks;

	for (size_t i = 0; i < run->plan->count; i++) {
		if (run->plan->op[i].code == OP_OVERLAY && run->plan->op[i].field[0].size == 0 && !run->layer.path) {
			needed = in_tmpfs = true;
			size = run->plan->op[i].field[2].number;
		}
	}
	if (!needed)
		return 0;
	if (rootfs_stage(&run->rootfs, size, why) < 0) {
		// only the keepers of what is on disk can do without
		if (run->in_memory || in_tmpfs || hooks || run_has_op(run, OP_INJECT))
			return -1;
	}
	return hand_over(run, &run->extraction.control, why);
}

static int unpack_in_memory(struct run *run, bool readonly, struct fault *why)
{
	OWN_FD tree = -1;

	if (mkdirat(run->rootfs.staging, "tree", 0755) < 0)
		return fault(why, errno, "make a directory in memory");
	tree = openat(run->rootfs.staging, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree < 0)
		return fault(why, errno, "open a directory in memory");
	if (extraction_into(tree, &run->unpack, why) < 0)
		return -1;
	close_fd(&run->unpack.file);
	return rootfs_bind(&run->rootfs, tree, readonly, why);
}

// The image: from our own server, or from the one that we share.
static int mount_served(struct run *run, bool readonly, struct fault *why)
{
	OWN_FD mountpoint = rootfs_mountpoint(&run->rootfs, why);
	char path[FD_PATH_SIZE];
	int server = run->server;

	if (mountpoint < 0)
		return -1;
	if (run->share.mount >= 0) {
		if (share_attach(&run->share, mountpoint, why) < 0)
			return -1;
		return rootfs_refresh(&run->rootfs, why);
	}
	run->server = -1;
	if (serve_mount(server, fd_path(path, mountpoint), MS_NOSUID | MS_NODEV | (readonly ? MS_RDONLY : 0), run->server_owners, why) < 0)
		return -1;
	if (rootfs_refresh(&run->rootfs, why) < 0)
		return -1;
	if (run->share.control >= 0)
		share_offer(&run->share, run->rootfs.fd);
	return 0;
}

int run_mount_root(struct run *run, const struct plan_op *op, struct fault *why)
{
	bool readonly = op->field[4].number & ROOT_READONLY;
	int status;

	if (stage(run, why) < 0)
		return -1;
	switch (op->field[0].number) {
	case ROOT_FUSE:
		if (run->server < 0 && run->share.mount < 0)
			return fault(why, 0, "mount the root filesystem: the plan has no file server");
		return mount_served(run, readonly, why);
	case ROOT_DIRECTORY:
		if (run->in_memory)
			return unpack_in_memory(run, readonly, why);
		return run->directory < 0 ? fault(why, 0, "mount the root filesystem: no unshare came before it") : rootfs_bind(&run->rootfs, run->directory, readonly, why);
	case ROOT_LOOP:
		if (run->image < 0)
			return fault(why, 0, "mount the root filesystem: no unshare came before it");
		status = rootfs_loop(&run->rootfs, run->image, op->field[2].number, run->image_size, why);
		close_fd(&run->image);
		return status;
	default:
		return fault(why, 0, "mount the root filesystem: unknown driver %u", (unsigned)op->field[0].number);
	}
}

int run_overlay(struct run *run, struct fault *why)
{
	struct overlay overlay = {.upper = run->upper, .work = run->work, .fresh = run->layer.path && run->layer.fresh};

	// only now: a layer that cannot be used is given up
	if (overlay_mount(&run->rootfs, &overlay, why) == 0)
		return hand_over(run, &run->layer.control, why);
	return run->layer.path && why->error == EINVAL ? layer_fault(run->layer.shown, run->upper, why->error, why) : -1;
}
