// SPDX-License-Identifier: Apache-2.0
// Runs a command as an ordinary user on a *bare host*: an empty tmpfs entered with pivot_root (a plain chroot forbids user
// namespaces) that holds /proc, /dev and the files named on the command line. Needs root. The process stays the same:
// what starts this program can signal and wait for the command itself.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
	"usage: bare-host [OPTION].. -- COMMAND [ARG]..\n"
	"  --uid N           user and group id of the command (4242)\n"
	"  --file SRC=DST    show a host file or directory read-only at DST\n"
	"  --bind SRC=DST    the same, writable\n"
	"  --dir PATH        an empty directory of the user's, mode 0700\n"
	"  --tmpfs PATH=OPTS a tmpfs; noexec and ro are flags, the rest is mount data\n"
	"  --no-tmp          no /tmp\n"
	"  --no-fuse         a /dev without fuse\n"
	"  --fuse-mode OCT   mode of /dev/fuse\n"
	"  --read-only       the root itself is read-only\n"
	"  --host-root       keep the host's root instead of an empty one\n"
	"  --chroot          enter with chroot(2): no user namespace can be made then\n"
	"  --no-userns       user.max_user_namespaces=0 in a user namespace around all\n"
	"  --no-mount-namespaces  as --no-userns, with user.max_mnt_namespaces\n"
	"  --deny NAME       seccomp EPERM for: userns (as container engines do), mount, ptrace; ENOSYS for: openat2, pidfd, open_tree;\n"
	"                    EACCES for: apparmor (mounts, as Ubuntu's AppArmor does); EOPNOTSUPP for: xattr; EDQUOT for: quota (writes of 16 KiB and more). May be repeated\n"
	"  --docker          what docker's default profile leaves root: its capabilities, parts of /proc covered\n"
	"  --cwd DIR         working directory (/)\n";

_Noreturn static void stop(const char *what, const char *on)
{
	fprintf(stderr, "bare-host: %s %s: %s\n", what, on, strerror(errno));
	exit(99);
}

static void must(int result, const char *what, const char *on)
{
	if (result < 0)
		stop(what, on);
}

// mkdir -p below the new root, which is the current directory; path is absolute.
static void make_parents(const char *path, int whole)
{
	char copy[4096];
	snprintf(copy, sizeof copy, "%s", path + 1);
	for (char *slash = copy; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			stop("mkdir", copy);
		*slash = '/';
	}
	if (whole && mkdir(copy, 0755) < 0 && errno != EEXIST)
		stop("mkdir", copy);
}

struct source { char *spec; int writable, fd; const char *at; };

static void open_source(struct source *source)
{
	char *equals = strchr(source->spec, '=');
	if (!equals || equals[1] != '/') {
		errno = EINVAL;
		stop("read", source->spec);
	}
	*equals = 0;
	source->at = equals + 1;
	source->fd = open(source->spec, O_PATH | O_CLOEXEC);
	must(source->fd, "open", source->spec);
}

static void show_source(const struct source *source)
{
	char from[64];
	struct stat st;
	snprintf(from, sizeof from, "/proc/self/fd/%d", source->fd);
	must(fstat(source->fd, &st), "stat", source->at);
	make_parents(source->at, S_ISDIR(st.st_mode));
	if (!S_ISDIR(st.st_mode)) {
		int fd = open(source->at + 1, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
		must(fd, "create", source->at);
		close(fd);
	}
	must(mount(from, source->at + 1, NULL, MS_BIND | MS_REC, NULL), "bind", source->at);
	if (!source->writable)
		must(mount(NULL, source->at + 1, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "remount", source->at);
}

static void add_tmpfs(char *spec)
{
	char *equals = strchr(spec, '='), data[512] = "mode=1777";
	unsigned long flags = 0;
	if (equals) {
		*equals = 0;
		for (char *word = strtok(equals + 1, ","); word; word = strtok(NULL, ",")) {
			if (!strcmp(word, "noexec"))
				flags |= MS_NOEXEC;
			else if (!strcmp(word, "ro"))
				flags |= MS_RDONLY;
			else
				snprintf(data + strlen(data), sizeof data - strlen(data), ",%s", word);
		}
	}
	make_parents(spec, 1);
	must(mount("tmpfs", spec + 1, "tmpfs", flags, data), "mount tmpfs on", spec);
}

static void make_dev(int fuse, int fuse_mode)
{
	static const struct { const char *name; int mode, major, minor; } node[] = {
		{ "null", 0666, 1, 3 }, { "zero", 0666, 1, 5 }, { "full", 0666, 1, 7 }, { "random", 0666, 1, 8 },
		{ "urandom", 0666, 1, 9 }, { "tty", 0666, 5, 0 },
	};
	must(mkdir("dev", 0755), "mkdir", "/dev");
	must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755"), "mount tmpfs on", "/dev");
	char path[64];
	for (size_t i = 0; i < sizeof node / sizeof *node; i++) {
		snprintf(path, sizeof path, "dev/%s", node[i].name);
		must(mknod(path, S_IFCHR | (mode_t)node[i].mode, makedev((unsigned)node[i].major, (unsigned)node[i].minor)), "mknod", path);
	}
	must(mkdir("dev/pts", 0755), "mkdir", "/dev/pts");
	must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620"), "mount devpts on", "/dev/pts");
	must(symlink("pts/ptmx", "dev/ptmx"), "symlink", "/dev/ptmx");
	must(symlink("/proc/self/fd", "dev/fd"), "symlink", "/dev/fd");
	must(mkdir("dev/shm", 01777), "mkdir", "/dev/shm");
	must(chmod("dev/shm", 01777), "chmod", "/dev/shm");
	if (fuse) {
		must(mknod("dev/fuse", S_IFCHR | 0600, makedev(10, 229)), "mknod", "/dev/fuse");
		must(chmod("dev/fuse", (mode_t)fuse_mode), "chmod", "/dev/fuse");
	}
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	must(fd, "open", path);
	must((int)write(fd, text, strlen(text)), "write", path);
	close(fd);
}

// A user namespace of our own in which every id is mapped: its limits on namespaces are ours to set. The map is written from
// outside by a helper, as only a process of the parent namespace may write one of more than one line.
static void enter_own_userns(void)
{
	int ready[2], done[2];
	char byte = 0, path[64];
	must(pipe2(ready, O_CLOEXEC), "pipe", "");
	must(pipe2(done, O_CLOEXEC), "pipe", "");
	pid_t self = getpid(), helper = fork();
	must(helper, "fork", "");
	if (!helper) {
		if (read(ready[0], &byte, 1) != 1)
			_exit(1);
		snprintf(path, sizeof path, "/proc/%d/uid_map", self);
		write_text(path, "0 0 4294967295");
		snprintf(path, sizeof path, "/proc/%d/gid_map", self);
		write_text(path, "0 0 4294967295");
		_exit(write(done[1], &byte, 1) != 1);
	}
	must(unshare(CLONE_NEWUSER), "unshare", "user");
	must((int)write(ready[1], &byte, 1), "write", "pipe");
	must(read(done[0], &byte, 1) == 1 ? 0 : -1, "wait for", "the map");
	waitpid(helper, NULL, 0);
}

static void deny(const char *name)
{
	struct rule { int number; unsigned error; };
	static const struct rule mount_rule[] = { { SYS_mount, EPERM }, { SYS_fsopen, EPERM }, { SYS_move_mount, EPERM }, { SYS_open_tree, EPERM } };
	static const struct rule apparmor_rule[] = { { SYS_mount, EACCES }, { SYS_fsopen, EACCES }, { SYS_move_mount, EACCES }, { SYS_open_tree, EACCES } };
	static const struct rule ptrace_rule[] = { { SYS_ptrace, EPERM } };
	static const struct rule openat2_rule[] = { { SYS_openat2, ENOSYS } };
	static const struct rule pidfd_rule[] = { { SYS_pidfd_open, ENOSYS } };
	static const struct rule open_tree_rule[] = { { SYS_open_tree, ENOSYS }, { SYS_move_mount, ENOSYS } };
	static const struct rule xattr_rule[] = { { SYS_setxattr, EOPNOTSUPP }, { SYS_lsetxattr, EOPNOTSUPP }, { SYS_fsetxattr, EOPNOTSUPP } };
	struct sock_filter filter[64];
	unsigned short n = 0;
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	if (!strcmp(name, "userns")) {
		// docker's default profile: NEWUSER in unshare and clone is EPERM, clone3 does not exist.
		static const int by_flags[] = { SYS_unshare, SYS_clone };
		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
		for (size_t i = 0; i < 2; i++) {
			filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)by_flags[i], 0, 4);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
			filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER, 0, 1);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
		}
	} else if (!strcmp(name, "quota")) {
		static const int writes[] = { SYS_write, SYS_pwrite64 };
		for (size_t i = 0; i < 2; i++) {
			filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)writes[i], 0, 4);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]));
			filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 16384, 0, 1);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDQUOT);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
		}
	} else {
		const struct rule *rule = NULL;
		size_t count = 0;
		if (!strcmp(name, "mount"))
			rule = mount_rule, count = 4;
		else if (!strcmp(name, "apparmor"))
			rule = apparmor_rule, count = 4;
		else if (!strcmp(name, "ptrace"))
			rule = ptrace_rule, count = 1;
		else if (!strcmp(name, "openat2"))
			rule = openat2_rule, count = 1;
		else if (!strcmp(name, "pidfd"))
			rule = pidfd_rule, count = 1;
		else if (!strcmp(name, "open_tree"))
			rule = open_tree_rule, count = 2;
		else if (!strcmp(name, "xattr"))
			rule = xattr_rule, count = 3;
		else {
			errno = EINVAL;
			stop("deny", name);
		}
		for (size_t i = 0; i < count; i++) {
			filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)rule[i].number, 0, 1);
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | rule[i].error);
		}
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { n, filter };
	must((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "install filter", name);
}

// capabilities(7) by number, as moby's profiles/seccomp and oci/caps have them: no SYS_ADMIN, no SYS_PTRACE.
static void keep_docker_capabilities(void)
{
	static const int kept[] = { 0 /* CHOWN */, 1 /* DAC_OVERRIDE */, 3 /* FOWNER */, 4 /* FSETID */, 5 /* KILL */, 6 /* SETGID */, 7 /* SETUID */,
		8 /* SETPCAP */, 10 /* NET_BIND_SERVICE */, 13 /* NET_RAW */, 18 /* SYS_CHROOT */, 27 /* MKNOD */, 29 /* AUDIT_WRITE */, 31 /* SETFCAP */ };
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0 }, { 0 } };
	unsigned long long mask = 0;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		mask |= 1ULL << kept[i];
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(mask >> cap & 1))
			must(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "drop", "a capability");
	data[0].effective = data[0].permitted = (unsigned)mask;
	must((int)syscall(SYS_capset, &head, data), "capset", "");
}

// Some of what runc covers.
static void mask_proc(void)
{
	static const char *const file[] = { "proc/kcore", "proc/keys", "proc/timer_list" };
	for (size_t i = 0; i < sizeof file / sizeof *file; i++)
		if (mount("/dev/null", file[i], NULL, MS_BIND, NULL) && errno != ENOENT)
			stop("cover", file[i]);
	if (mount("tmpfs", "proc/fs", "tmpfs", MS_RDONLY, NULL) && errno != ENOENT)
		stop("cover", "proc/fs");
	must(mount("proc/sys", "proc/sys", NULL, MS_BIND | MS_REC, NULL), "bind", "/proc/sys");
	must(mount(NULL, "proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "remount", "/proc/sys");
}

int main(int argc, char **argv)
{
	struct source source[64];
	char *tmpfs[32];
	const char *dir[32], *denied[8], *cwd = "/";
	size_t sources = 0, tmpfses = 0, dirs = 0, denials = 0;
	int uid = 4242, fuse = 1, fuse_mode = 0666, tmp = 1, read_only = 0, host_root = 0, use_chroot = 0, no_userns = 0, no_mount = 0, docker = 0, at = 1;
	for (; at < argc && strcmp(argv[at], "--"); at++) {
		const char *name = argv[at];
		char *value = at + 1 < argc ? argv[at + 1] : NULL;
		if (!strcmp(name, "--no-tmp")) tmp = 0;
		else if (!strcmp(name, "--no-fuse")) fuse = 0;
		else if (!strcmp(name, "--docker")) docker = 1;
		else if (!strcmp(name, "--read-only")) read_only = 1;
		else if (!strcmp(name, "--host-root")) host_root = 1;
		else if (!strcmp(name, "--chroot")) use_chroot = 1;
		else if (!strcmp(name, "--no-userns")) no_userns = 1;
		else if (!strcmp(name, "--no-mount-namespaces")) no_mount = 1;
		else if (!value) break;
		else if (!strcmp(name, "--uid")) uid = atoi(value), at++;
		else if (!strcmp(name, "--fuse-mode")) fuse_mode = (int)strtol(value, NULL, 8), at++;
		else if (!strcmp(name, "--file") && sources < 64) source[sources++] = (struct source){ value, 0, -1, NULL }, at++;
		else if (!strcmp(name, "--bind") && sources < 64) source[sources++] = (struct source){ value, 1, -1, NULL }, at++;
		else if (!strcmp(name, "--tmpfs") && tmpfses < 32) tmpfs[tmpfses++] = value, at++;
		else if (!strcmp(name, "--dir") && dirs < 32) dir[dirs++] = value, at++;
		else if (!strcmp(name, "--deny") && denials < 8) denied[denials++] = value, at++;
		else if (!strcmp(name, "--cwd")) cwd = value, at++;
		else break;
	}
	if (at + 1 >= argc || strcmp(argv[at], "--")) {
		fputs(usage, stderr);
		return 99;
	}
	mode_t mask = umask(0);
	if (no_userns || no_mount)
		enter_own_userns();
	if (no_userns)
		write_text("/proc/sys/user/max_user_namespaces", "0");
	must(unshare(CLONE_NEWNS), "unshare", "mount");
	if (no_mount)
		write_text("/proc/sys/user/max_mnt_namespaces", "0");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make private", "/");
	// Only now: what is opened in another mount namespace cannot be bound in this one.
	for (size_t i = 0; i < sources; i++)
		open_source(&source[i]);
	if (host_root) {
		must(chdir("/"), "chdir", "/");
	} else {
		must(mount("bare-host", "/mnt", "tmpfs", 0, "mode=755"), "mount tmpfs on", "/mnt");
		must(chdir("/mnt"), "chdir", "/mnt");
		if (use_chroot) {
			// As debootstrap leaves one: a plain directory, not the root of a mount.
			must(mkdir("chroot", 0755), "mkdir", "/mnt/chroot");
			must(chdir("chroot"), "chdir", "/mnt/chroot");
		}
		must(mkdir("proc", 0755), "mkdir", "/proc");
		// --no-userns owns no pid namespace, so a bind it is, for all alike; it also shows what a locked /proc does.
		must(mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL), "bind", "/proc");
		if (no_userns || no_mount) {
			// Device nodes of a tmpfs made in a user namespace cannot be opened: bind the host's.
			must(mkdir("dev", 0755), "mkdir", "/dev");
			must(mount("/dev", "dev", NULL, MS_BIND | MS_REC, NULL), "bind", "/dev");
		} else {
			make_dev(fuse, fuse_mode);
		}
		if (tmp) {
			must(mkdir("tmp", 0755), "mkdir", "/tmp");
			must(chmod("tmp", 01777), "chmod", "/tmp");
		}
	}
	for (size_t i = 0; i < tmpfses; i++)
		add_tmpfs(tmpfs[i]);
	for (size_t i = 0; i < dirs; i++) {
		make_parents(dir[i], 1);
		must(chmod(dir[i] + 1, 0700), "chmod", dir[i]);
		must(chown(dir[i] + 1, (uid_t)uid, (gid_t)uid), "chown", dir[i]);
	}
	for (size_t i = 0; i < sources; i++)
		show_source(&source[i]);
	if (docker)
		mask_proc();
	if (read_only)
		must(mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "remount", "/");
	if (use_chroot) {
		must(chroot("."), "chroot", ".");
	} else if (!host_root) {
		must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root", ".");
		must(umount2(".", MNT_DETACH), "umount", "the host");
	}
	must(chdir(cwd), "chdir", cwd);
	umask(mask);
	must(setgroups(0, NULL), "setgroups", "");
	must(setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid), "setresgid", "");
	// Filters are installed before the ids change: an ordinary user would need no_new_privs, which the command would then see.
	for (size_t i = 0; i < denials; i++)
		deny(denied[i]);
	if (docker)
		keep_docker_capabilities();
	must(setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid), "setresuid", "");
	// After a change of ids the process is not dumpable and /proc/self belongs to root until the exec.
	execv(argv[at + 1], argv + at + 1);
	stop("exec", argv[at + 1]);
}
