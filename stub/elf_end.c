// SPDX-License-Identifier: Apache-2.0
#include "elf_end.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "wire.h"

static void raise_to(uint64_t *end, uint64_t offset, uint64_t size)
{
	if (offset <= UINT64_MAX - size && offset + size > *end)
		*end = offset + size;
}

static int refuse(const char *name, struct fault *why)
{
	return fault(why, 0, "%s: not a file that bundler made: it is no 64-bit ELF executable", name);
}

static int read_headers(int fd, const char *name, uint64_t file_size, uint64_t offset, uint64_t size, void **headers, struct fault *why)
{
	if (offset > file_size || size > file_size - offset) {
		fault(why, 0, "%s: truncated: its header tables lie beyond its %llu bytes", name, (unsigned long long)file_size);
		return fault_hint(why, "copy or download it again");
	}
	*headers = malloc(size ? size : 1);
	if (!*headers)
		return fault(why, ENOMEM, "%s: read %llu bytes", name, (unsigned long long)size);
	if (read_exactly(fd, *headers, size, (int64_t)offset))
		return fault(why, errno, "%s: read its header tables", name);
	return 0;
}

int elf_end(int fd, const char *name, uint64_t file_size, uint64_t *end, struct fault *why)
{
	static const char squashfs[4] = { 'h', 's', 'q', 's' };
	Elf64_Ehdr head;
	if (file_size < sizeof head)
		return refuse(name, why);
	if (read_exactly(fd, &head, sizeof head, 0))
		return fault(why, errno, "%s: read its first bytes", name);
	if (!memcmp(head.e_ident, squashfs, sizeof squashfs)) {
		fault(why, 0, "%s: a squashfs image and not a bundle", name);
		return fault_hint(why, "make a bundle of it first: bundler make %s", name);
	}
	if (memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse(name, why);
	if ((head.e_phnum && head.e_phentsize != sizeof(Elf64_Phdr)) || (head.e_shnum && head.e_shentsize != sizeof(Elf64_Shdr)))
		return refuse(name, why);
	OWN void *program = NULL, *sections = NULL;
	uint64_t program_size = (uint64_t)head.e_phnum * head.e_phentsize, sections_size = (uint64_t)head.e_shnum * head.e_shentsize;
	if (read_headers(fd, name, file_size, head.e_phoff, program_size, &program, why) ||
	    read_headers(fd, name, file_size, head.e_shoff, sections_size, &sections, why))
		return -1;
	*end = head.e_ehsize;
	raise_to(end, head.e_phoff, program_size);
	raise_to(end, head.e_shoff, sections_size);
	for (size_t i = 0; i < head.e_phnum; i++) {
		const Elf64_Phdr *one = (const Elf64_Phdr *)program + i;
		raise_to(end, one->p_offset, one->p_filesz);
	}
	for (size_t i = 0; i < head.e_shnum; i++) {
		const Elf64_Shdr *one = (const Elf64_Shdr *)sections + i;
		if (one->sh_type != SHT_NOBITS)
			raise_to(end, one->sh_offset, one->sh_size);
	}
	return 0;
}
