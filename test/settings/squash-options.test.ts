// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { defaultSquashOptions, parseSquashOptions } from '../../src/settings/squash-options.ts';

const gzip = { ...defaultSquashOptions, compressor: 'gzip', level: null };
const stored = defaultSquashOptions.uncompressed;

describe('ENROOT_SQUASH_OPTIONS', () => {
  test.each<[text: string, options: object]>([
    ['', {}],
    ['  -comp   zstd ', { compressor: 'zstd' }],
    ['-comp zstd -Xcompression-level 19', { compressor: 'zstd', level: 19 }],
    ['-Xcompression-level 22 -comp zstd', { compressor: 'zstd', level: 22 }],
    ['-comp gzip -Xcompression-level 1', { level: 1 }],
    ['-comp xz', { compressor: 'xz' }],
    ['-comp lzma', { compressor: 'lzma' }],
    ['-comp lz4 -Xhc', { compressor: 'lz4', lz4Hc: true }],
    ['-b 1M', { blockSizeBytes: 1 << 20 }],
    ['-b 256k', { blockSizeBytes: 256 << 10 }],
    ['-b 4096', { blockSizeBytes: 4096 }],
    ['-noD -noX', { uncompressed: { ...stored, data: true, xattrs: true } }],
    [
      '-noDataCompression -noInodeCompression -noFragmentCompression -noXattrCompression',
      { uncompressed: { data: true, inodes: true, fragments: true, xattrs: true } },
    ],
    ['-no-fragments -no-duplicates', { noFragments: true, noDuplicates: true }],
    ['-no-xattrs -all-root', { noXattrs: true, allRoot: true }],
    ['-root-owned', { allRoot: true }],
    ['-processors 3', { threads: 3 }],
    ['-mem 2G -no-progress -quiet -exit-on-error -noappend', {}],
  ])('%j', (text, options) => {
    expect(parseSquashOptions(text)).toEqual({ options: { ...gzip, ...options }, ignored: [], lzo: false });
  });

  test('as enroot has them by default give lz4 for lzo, and say so', () => {
    expect(parseSquashOptions('-comp lzo -noD -exit-on-error')).toEqual({
      options: { ...gzip, compressor: 'lz4', uncompressed: { ...stored, data: true } },
      ignored: [],
      lzo: true,
    });
    expect(parseSquashOptions('-comp lzo -Xcompression-level 9')).toMatchObject({
      options: { level: null },
      lzo: true,
    });
  });

  test('that would change the image and do nothing here are named with their arguments', () => {
    expect(parseSquashOptions('-force-uid 0 -nopad -comp xz -Xbcj x86')).toMatchObject({
      options: { compressor: 'xz' },
      ignored: ['-force-uid 0', '-nopad', '-Xbcj x86'],
    });
  });

  test.each<[text: string, fault: string]>([
    ['-comp', '-comp lacks its argument'],
    ['-comp bzip2', '-comp is one of gzip, lzma, lzo, lz4, xz, zstd'],
    ['-comp constructor', '-comp is one of'],
    ['-comp zstd -Xcompression-level 23', '-Xcompression-level of zstd is 1 to 22'],
    ['-comp gzip -Xcompression-level 10', '-Xcompression-level of gzip is 1 to 9'],
    ['-comp xz -Xcompression-level 3', '-Xcompression-level is not for xz'],
    ['-Xcompression-level fast', '-Xcompression-level takes a number'],
    ['-Xhc', '-Xhc is not for gzip'],
    ['-b 3M', '-b takes a power of two'],
    ['-b 2M', '-b takes a power of two'],
    ['-b 100K', '-b takes a power of two'],
    ['-b x', '-b takes a power of two'],
    ['-b 2048', '-b takes a power of two'],
    ['-processors 0', '-processors takes a number'],
    ['-mem', '-mem lacks its argument'],
    ['-compp zstd', '-compp is no option of mksquashfs'],
    ['zstd', 'zstd is no option of mksquashfs'],
    ['constructor', 'constructor is no option of mksquashfs'],
  ])('%j is wrong: %s', (text, fault) => {
    expect(parseSquashOptions(text)).toContain(fault);
  });

  test('of any words give options that can be, or text', () => {
    const word = fc.constantFrom(
      '-comp',
      'zstd',
      'lz4',
      'lzo',
      '-b',
      '1M',
      '64K',
      '-Xcompression-level',
      '7',
      '-Xhc',
      '-noD',
      '-mem',
      '__proto__',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string())), (words) => {
        const parsed = parseSquashOptions(words.join(' '));
        if (typeof parsed === 'string') return;
        const { compressor, level, blockSizeBytes } = parsed.options;
        expect(['gzip', 'xz', 'lz4', 'zstd', 'lzma']).toContain(compressor);
        expect(level === null || level > 0).toBe(true);
        expect(blockSizeBytes & (blockSizeBytes - 1)).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});
