// SPDX-License-Identifier: Apache-2.0
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "extract.h"
#include "namespace.h"
#include "serve.h"

enum { BLOCK_CACHE_BYTES = 16 << 20 };

// ld.so splits --library-path at ':' and ';' and expands '$' (ld.so(8)).
static int is_loadable(const char *path)
{
	return !strpbrk(path, ":;$");
}

// 1: unpacked earlier, complete, and programs may be executed there.
static int find_warm(const struct dirs *dirs, const char *name, struct runtime *runtime)
{
	for (size_t i = 0; i < dirs->count; i++) {
		struct stat st;
		struct statvfs fs;
		OWN_FD cache = open(dirs->path[i], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (cache < 0 || fstat(cache, &st) || st.st_uid != geteuid() || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)) || !is_loadable(dirs->path[i]))
			continue;
		OWN_FD dir = open_complete(cache, name, &runtime->identity);
		if (dir < 0 || fstatvfs(dir, &fs) || (fs.f_flag & ST_NOEXEC))
			continue;
		snprintf(runtime->cache, sizeof runtime->cache, "%s", dirs->path[i]);
		runtime->from = "warm";
		return 1;
	}
	return 0;
}

// A line for each candidate that did not do, for the message when nothing else does either.
struct reasons { char text[1536]; size_t size; };

__attribute__((format(printf, 2, 3))) static void add_reason(struct reasons *reasons, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int size = vsnprintf(reasons->text + reasons->size, sizeof reasons->text - reasons->size, format, args);
	va_end(args);
	if (size > 0 && reasons->size + (size_t)size < sizeof reasons->text)
		reasons->size += (size_t)size;
}

static void explain_step(struct reasons *reasons, const char *path, const struct dir_fact *fact)
{
	static const struct { const char *step, *words; } known[] = {
		{ "create", "cannot be made" }, { "owner", "belongs to somebody else" }, { "mode", "others may write in it" },
		{ "symlink", "is a symlink" }, { "space", "has too little space" }, { "quota", "is over its quota" },
		{ "write", "cannot be written" }, { "exec", "is on a file system mounted noexec" }, { "name", "has a name that ld.so would split (one of : ; $)" },
	};
	const char *words = fact->step;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(fact->step, known[i].step))
			words = known[i].words;
	add_reason(reasons, "%s%s: %s (%s)", reasons->size ? "; " : "", path, words, fact->error ? strerror(fact->error) : "unpacking failed");
}

static int unpack_in(const struct bundle *bundle, const char *path, const char *name, const struct identity *damaged, struct identity *identity,
	struct dir_fact *fact, struct fault *why)
{
	OWN_FD cache = dir_probe(path, 0, fact);
	if (cache < 0)
		return -1;
	const char *step = !is_loadable(path) ? "name" : !fact->executable ? "exec" : NULL;
	if (step) {
		fact->step = step;
		fact->error = *step == 'n' ? EINVAL : EACCES;
		return -1;
	}
	if (!unpack_runtime(bundle, cache, name, damaged, fact, why)) {
		int dir = open_complete(cache, name, identity);
		close_fd(&dir);
		return 0;
	}
	fact->error = why->error;
	fact->step = why->error == ENOSPC ? "space" : why->error == EDQUOT ? "quota" : "write";
	return -1;
}

// 0: unpacked there. -1: this candidate will not do, and nothing of ours stays in it.
static int try_candidate(const struct bundle *bundle, const char *path, const char *name, const struct identity *damaged, struct identity *identity,
	struct dir_fact *fact, struct fault *why)
{
	struct stat st;
	int was_missing = lstat(path, &st) && errno == ENOENT;
	if (!unpack_in(bundle, path, name, damaged, identity, fact, why))
		return 0;
	OWN_FD made = was_missing ? open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (made >= 0) {
		unlinkat(made, "lock", 0);
		rmdir(path);
	}
	return -1;
}

static int serve_from_here(const struct bundle *bundle, const struct section *section, struct runtime *runtime)
{
	struct fault ignored;
	struct serve_config config = { .file = bundle->file, .offset = section->offset, .size = section->size, .uid = geteuid(), .gid = getegid() };
	runtime->server = serve_start(&config, &ignored);
	runtime->from = "namespace";
	return 0;
}

int runtime_get(const struct bundle *bundle, struct runtime *runtime, const struct identity *damaged, struct fault *why)
{
	const struct section *section = bundle_section(bundle, "runtime");
	struct reasons reasons = { .size = 0 };
	struct dirs dirs;
	char name[48];
	runtime->server = -1;
	runtime->identity = (struct identity){ 0 };
	runtime->cache[0] = runtime->dir[0] = 0;
	if (!section) {
		fault(why, 0, "%s: it has no runtime section", bundle->path);
		return fault_hint(why, "make the file again with a complete bundler");
	}
	name_runtime(section, name);
	dirs_candidates(&dirs);
	int found = !damaged && find_warm(&dirs, name, runtime);
	if (!found && bundle_verify_section(bundle, section, why))
		return -1;
	for (size_t i = 0; !found && i < dirs.count; i++) {
		struct dir_fact fact;
		found = !try_candidate(bundle, dirs.path[i], name, damaged, &runtime->identity, &fact, why);
		if (found) {
			snprintf(runtime->cache, sizeof runtime->cache, "%s", dirs.path[i]);
			runtime->from = "unpacked";
		} else {
			explain_step(&reasons, dirs.path[i], &fact);
		}
	}
	if (!found) {
		// Kept for the message of runtime_enter, should that fail too.
		fault(why, 0, "%.*s", (int)sizeof why->text - 1, reasons.text);
		return serve_from_here(bundle, section, runtime);
	}
	if (snprintf(runtime->dir, sizeof runtime->dir, "%s/%s", runtime->cache, name) >= (int)sizeof runtime->dir)
		return fault(why, ENAMETOOLONG, "%s/%s", runtime->cache, name);
	return 0;
}

int runtime_is_gone(const struct bundle *bundle, const struct runtime *runtime)
{
	char name[48];
	struct identity now;
	name_runtime(bundle_section(bundle, "runtime"), name);
	OWN_FD cache = open(runtime->cache, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN_FD dir = cache < 0 ? -1 : open_complete(cache, name, &now);
	return dir < 0 || !is_same_runtime(&now, &runtime->identity);
}

// No FUSE either: the runtime is unpacked into the namespace's own memory.
static int unpack_into_memory(const struct bundle *bundle, const struct section *section, const char *dir, struct fault *why)
{
	struct image *image;
	struct extract_options options = { 0 };
	struct extract_report done;
	OWN_FD target = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (target < 0)
		return fault(why, errno, "open %s", dir);
	if (image_open(&image, bundle->file, section->offset, section->size, BLOCK_CACHE_BYTES, why))
		return -1;
	int result = extract_tree(image, target, &options, &done, why);
	image_close(image);
	return result;
}

int runtime_enter(const struct bundle *bundle, struct runtime *runtime, struct fault *why)
{
	struct fault served, candidates = *why;
	const char *base = NULL, *step = enter_user_namespace();
	// Real root needs no user namespace to mount in its own mount namespace.
	if (step && geteuid() == 0 && !strcmp(step, "unshare"))
		step = NULL;
	if (!step)
		step = enter_mount_namespace();
	// In a chroot the root is no mount point; then nothing is shared that would have to be made private.
	if (step && !strcmp(step, "propagation") && errno == EINVAL)
		step = NULL;
	if (!step)
		step = mount_scratch("mode=0700", &base);
	if (step) {
		int error = errno;
		fault(why, error, "no directory for the runtime (%.340s), and none can be mounted: %s", candidates.text, step);
		return fault_hint(why, "set BUNDLER_CACHE_DIR to a directory of yours with %llu MB free, on a file system not mounted noexec",
			(unsigned long long)bundle_section(bundle, "runtime")->raw_size / 1000000 + 1);
	}
	snprintf(runtime->dir, sizeof runtime->dir, "%s/runtime", base);
	if (mkdir(runtime->dir, 0700))
		return fault(why, errno, "make %s", runtime->dir);
	int server = runtime->server;
	runtime->server = -1;
	runtime->from = "mounted";
	if (server >= 0 && !serve_mount(server, runtime->dir, MS_NOSUID | MS_NODEV | MS_RDONLY, false, &served))
		return 0;
	runtime->from = "memory";
	if (!unpack_into_memory(bundle, bundle_section(bundle, "runtime"), runtime->dir, why))
		return 0;
	fault_hint(why, "set BUNDLER_CACHE_DIR to a directory of yours that can be written and executed in, or allow /dev/fuse");
	return -1;
}

void runtime_release(struct runtime *runtime)
{
	close_fd(&runtime->server);
}
