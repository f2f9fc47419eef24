// SPDX-License-Identifier: Apache-2.0
#include "bundle.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>
#include "elf_end.h"
#include "sha256.h"

enum { PAGE = 4096, ENTRIES_AT = 32, ENTRY_SIZE = 72, DIGEST_AT = 4064, MAX_MANIFEST = 32 << 20 };

static const char copy_again[] = "copy or download the file again";

static uint64_t align_page(uint64_t offset)
{
	return (offset + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static int finish_open(struct bundle *bundle, struct fault *why)
{
	struct stat st;
	if (fstat(bundle->file, &st))
		return fault(why, errno, "%s", bundle->path);
	if (!S_ISREG(st.st_mode))
		return fault(why, 0, "%s: not a regular file", bundle->path);
	bundle->size = (uint64_t)st.st_size;
	return 0;
}

int bundle_open_path(struct bundle *bundle, const char *path, struct fault *why)
{
	char resolved[PATH_MAX];
	snprintf(bundle->path, sizeof bundle->path, "%s", path);
	// O_NONBLOCK: a FIFO must not hold us up before fstat refuses it; it means nothing for a regular file.
	bundle->file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (bundle->file < 0) {
		fault(why, errno, "open %s", path);
		return errno == EACCES ? fault_hint(why, "the file must be readable, not only executable: chmod +r %s", path) : -1;
	}
	if (realpath(path, resolved))
		snprintf(bundle->path, sizeof bundle->path, "%s", resolved);
	return finish_open(bundle, why);
}

int bundle_open_self(struct bundle *bundle, struct fault *why)
{
	ssize_t size = readlink("/proc/self/exe", bundle->path, sizeof bundle->path - 1);
	if (size < 0) {
		// Without /proc the kernel still tells the name it was asked to execute (getauxval(3)).
		const char *name = (const char *)getauxval(AT_EXECFN);
		if (name && !bundle_open_path(bundle, name, why))
			return 0;
		fault(why, 0, "find the own executable: /proc is not mounted and %s cannot be opened", name ? name : "its name");
		return fault_hint(why, "mount -t proc proc /proc");
	}
	bundle->path[size] = 0;
	bundle->file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (bundle->file < 0) {
		fault(why, errno, "open %s", bundle->path);
		return errno == EACCES ? fault_hint(why, "the file must be readable, not only executable: chmod +r %s", bundle->path) : -1;
	}
	return finish_open(bundle, why);
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t little;
	memcpy(&little, at, sizeof little);
	return le64toh(little);
}

static uint32_t get_u32(const uint8_t *at)
{
	uint32_t little;
	memcpy(&little, at, sizeof little);
	return le32toh(little);
}

static int is_zero(const uint8_t *data, size_t size)
{
	uint8_t seen = 0;
	for (size_t i = 0; i < size; i++)
		seen |= data[i];
	return !seen;
}

__attribute__((format(printf, 3, 4)))
static int refuse(const struct bundle *bundle, struct fault *why, const char *format, ...)
{
	char text[300];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fault(why, 0, "%s: %s", bundle->path, text);
	return fault_hint(why, "%s", copy_again);
}

static int refuse_size(const struct bundle *bundle, uint64_t expected, struct fault *why)
{
	unsigned long long want = expected, have = bundle->size;
	if (have > want)
		return refuse(bundle, why, "longer than it was made: something was appended (%llu bytes expected, %llu present)", want, have);
	if (want / 1000000 != have / 1000000)
		return refuse(bundle, why, "truncated: %llu MB expected, %llu MB present", (want + 500000) / 1000000, have / 1000000);
	return refuse(bundle, why, "truncated: %llu bytes expected, %llu bytes present", want, have);
}

static int decode_entry(struct bundle *bundle, const uint8_t *entry, struct section *section, struct fault *why)
{
	memcpy(section->name, entry, 16);
	size_t length = strlen(section->name);
	if (!length || !is_zero(entry + length, 16 - length))
		return refuse(bundle, why, "damaged section table: a section has no proper name");
	for (size_t i = 0; i < length; i++)
		if (section->name[i] < '!' || section->name[i] > '~')
			return refuse(bundle, why, "damaged section table: a section has no proper name");
	section->offset = get_u64(entry + 16);
	section->size = get_u64(entry + 24);
	section->raw_size = get_u64(entry + 32);
	memcpy(section->sha256, entry + 40, 32);
	for (const struct section *other = bundle->section; other < section; other++)
		if (!strcmp(other->name, section->name))
			return refuse(bundle, why, "damaged section table: two sections are named %s", section->name);
	return 0;
}

static int decode_table(struct bundle *bundle, const uint8_t *page, struct fault *why)
{
	uint8_t digest[32];
	if (memcmp(page, "BNDLRUN1", 8))
		return refuse(bundle, why, "no section table after the launcher: damaged, or not a file that bundler made");
	sha256_of(page, DIGEST_AT, digest);
	if (memcmp(digest, page + DIGEST_AT, 32))
		return refuse(bundle, why, "the section table is damaged: its SHA-256 does not fit");
	if (get_u32(page + 8) != 1) {
		fault(why, 0, "%s: format version %u; this launcher reads version 1", bundle->path, get_u32(page + 8));
		return fault_hint(why, "use the bundler that made the file, or a newer one");
	}
	uint32_t count = get_u32(page + 12);
	if (count < 1 || count > BUNDLE_MAX_SECTIONS)
		return refuse(bundle, why, "damaged section table: %u sections", count);
	if (!is_zero(page + 24, 8) || !is_zero(page + ENTRIES_AT + count * ENTRY_SIZE, DIGEST_AT - ENTRIES_AT - count * ENTRY_SIZE))
		return refuse(bundle, why, "damaged section table: bytes that must be zero are not");
	for (uint32_t i = 0; i < count; i++)
		if (decode_entry(bundle, page + ENTRIES_AT + i * ENTRY_SIZE, &bundle->section[i], why))
			return -1;
	bundle->count = count;
	return 0;
}

// Names the rule that a section breaks, if any: the order and places are fixed by the sizes alone.
static int check_places(const struct bundle *bundle, uint64_t elf, uint64_t table, uint64_t total, struct fault *why)
{
	const struct section *section = bundle->section;
	if (strcmp(section[0].name, "launcher") || section[0].offset != 0)
		return refuse(bundle, why, "damaged section table: the first section is not the launcher");
	if (section[0].size != elf) {
		fault(why, 0, "%s: the launcher was changed: it ends at %llu, the section table says %llu", bundle->path,
			(unsigned long long)elf, (unsigned long long)section[0].size);
		return fault_hint(why, "tools such as strip or patchelf must not be used on it");
	}
	uint64_t end = table + PAGE;
	for (size_t i = 1; i < bundle->count; i++) {
		if (section[i].offset != align_page(end) || section[i].size > total || section[i].offset > total - section[i].size)
			return refuse(bundle, why, "damaged section table: section %s is at a wrong place", section[i].name);
		end = section[i].offset + section[i].size;
	}
	return end == total ? 0 : refuse(bundle, why, "damaged section table: the sections end at %llu, the file at %llu", (unsigned long long)end, (unsigned long long)total);
}

static int check_padding(const struct bundle *bundle, struct fault *why)
{
	uint8_t padding[PAGE];
	for (size_t i = 0; i < bundle->count; i++) {
		uint64_t from = bundle->section[i].offset + bundle->section[i].size;
		size_t size = (size_t)(align_page(from) - from);
		if ((i && i == bundle->count - 1) || !size)
			continue;
		if (read_exactly(bundle->file, padding, size, (int64_t)from))
			return fault(why, errno, "%s: read at %llu", bundle->path, (unsigned long long)from);
		if (!is_zero(padding, size))
			return refuse(bundle, why, "damaged: the padding after section %s is not zero (bytes %llu to %llu)", bundle->section[i].name,
				(unsigned long long)from, (unsigned long long)(from + size - 1));
	}
	return 0;
}

static int read_manifest(struct bundle *bundle, struct fault *why)
{
	const struct section *section = bundle_section(bundle, "manifest");
	uint8_t digest[32];
	if (!section)
		return refuse(bundle, why, "it has no manifest section");
	if (section->size > MAX_MANIFEST)
		return refuse(bundle, why, "damaged section table: a manifest of %llu bytes", (unsigned long long)section->size);
	size_t size = (size_t)section->size;
	bundle->manifest = (struct buffer){ malloc(size + 1), size, size + 1 };
	if (!bundle->manifest.data)
		return fault(why, ENOMEM, "%s: read the manifest", bundle->path);
	if (read_exactly(bundle->file, bundle->manifest.data, size, (int64_t)section->offset))
		return fault(why, errno, "%s: read the manifest", bundle->path);
	sha256_of(bundle->manifest.data, size, digest);
	if (memcmp(digest, section->sha256, 32))
		return refuse(bundle, why, "the manifest is damaged: its SHA-256 does not fit");
	return 0;
}

int bundle_read(struct bundle *bundle, struct fault *why)
{
	uint64_t elf;
	uint8_t page[PAGE];
	if (elf_end(bundle->file, bundle->path, bundle->size, &elf, why))
		return -1;
	uint64_t table = align_page(elf);
	if (bundle->size == elf) {
		fault(why, 0, "%s: a launcher without sections (a development build, or a file cut off after its launcher)", bundle->path);
		return fault_hint(why, "a file to run is made with: bundler make IMAGE.sqsh");
	}
	if (bundle->size < elf || bundle->size - elf < table + PAGE - elf)
		return refuse(bundle, why, "truncated: at least %llu bytes expected, %llu bytes present", (unsigned long long)(table + PAGE), (unsigned long long)bundle->size);
	if (read_exactly(bundle->file, page, sizeof page, (int64_t)table))
		return fault(why, errno, "%s: read the section table", bundle->path);
	if (decode_table(bundle, page, why))
		return -1;
	uint64_t total = get_u64(page + 16);
	if (total != bundle->size)
		return refuse_size(bundle, total, why);
	if (check_places(bundle, elf, table, total, why) || check_padding(bundle, why))
		return -1;
	return read_manifest(bundle, why);
}

const struct section *bundle_section(const struct bundle *bundle, const char *name)
{
	for (size_t i = 0; i < bundle->count; i++)
		if (!strcmp(bundle->section[i].name, name))
			return &bundle->section[i];
	return NULL;
}

const char *describe_section(const struct section *section, char text[SECTION_TEXT])
{
	char hex[65];
	for (int at = 0; at < 32; at++)
		snprintf(hex + 2 * at, 3, "%02x", section->sha256[at]);
	snprintf(text, SECTION_TEXT, "%s %llu %llu %llu %s", section->name, (unsigned long long)section->offset, (unsigned long long)section->size,
		(unsigned long long)section->raw_size, hex);
	return text;
}

int bundle_verify_section(const struct bundle *bundle, const struct section *section, struct fault *why)
{
	enum { CHUNK = 1 << 20 };
	OWN char *chunk = malloc(CHUNK);
	struct sha256 hash;
	uint8_t digest[32];
	if (!chunk)
		return fault(why, ENOMEM, "check section %s", section->name);
	sha256_init(&hash);
	for (uint64_t at = 0; at < section->size;) {
		size_t size = section->size - at < CHUNK ? (size_t)(section->size - at) : CHUNK;
		if (read_exactly(bundle->file, chunk, size, (int64_t)(section->offset + at)))
			return fault(why, errno, "%s: read section %s", bundle->path, section->name);
		sha256_update(&hash, chunk, size);
		at += size;
	}
	sha256_final(&hash, digest);
	if (memcmp(digest, section->sha256, 32))
		return refuse(bundle, why, "section %s is damaged: its SHA-256 does not fit", section->name);
	return 0;
}
