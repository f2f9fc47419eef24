// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Failure } from '../../src/failure.ts';
import { applyEntry } from '../../src/layer/apply-layer.ts';
import { emitTree } from '../../src/layer/emit-tree.ts';
import { mergeLayers } from '../../src/layer/merge-layers.ts';
import { createTree, findName } from '../../src/layer/rootfs-tree.ts';
import type { Layer } from '../../src/source/image.ts';
import { makeRawTar, type RawEntry } from '../support/raw-tar.ts';
import { NaiveExtractor, Refusal } from './naive-extractor.ts';
import { RecordingPacker } from './recording-packer.ts';

const runs = Number(process.env['BUNDLER_MERGE_RUNS'] ?? 300);
const madeSeconds = 1;

function asLayer(entries: readonly RawEntry[]): Layer {
  const tar = makeRawTar(entries);
  return { digest: '', sizeBytes: tar.length, open: async () => Readable.from([tar], { objectMode: false }) };
}

/** The tree that bundler makes of a stack; null where it refuses. */
async function merge(stack: readonly (readonly RawEntry[])[]): Promise<string[] | null> {
  const packer = new RecordingPacker();
  const layers = stack.map(asLayer);
  try {
    const tree = await mergeLayers({ layers, added: [], directories: [], mtimeSeconds: madeSeconds }, packer);
    const options = { latestSeconds: null, noXattrs: false, allRoot: false };
    return packer.list((await emitTree(tree, packer, options)).root);
  } catch (error) {
    if (error instanceof Failure) return null;
    throw error;
  }
}

/** The same, the naive way; or where in the stack it refuses. */
function extract(stack: readonly (readonly RawEntry[])[]): string[] | { layer: number; index: number } {
  const extractor = new NaiveExtractor(madeSeconds);
  for (const [layer, entries] of stack.entries()) {
    extractor.beginLayer();
    for (const [index, entry] of entries.entries()) {
      try {
        extractor.extract(entry);
      } catch (error) {
        if (error instanceof Refusal) return { layer, index };
        throw error;
      }
    }
  }
  return extractor.list();
}

/** Without the entries that are refused, so that most stacks are images. */
function withoutRefused(stack: readonly (readonly RawEntry[])[]): readonly (readonly RawEntry[])[] {
  for (let rest = stack; ; ) {
    const found = extract(rest);
    if (Array.isArray(found)) return rest;
    rest = rest.map((entries, layer) =>
      layer === found.layer ? entries.filter((_, index) => index !== found.index) : entries,
    );
  }
}

const name = fc.constantFrom('a', 'b', 'c');
const components = fc.oneof(
  { weight: 3, arbitrary: fc.array(name, { minLength: 1, maxLength: 2 }) },
  { weight: 2, arbitrary: fc.array(name, { minLength: 3, maxLength: 4 }) },
);
const separator = fc.oneof(
  { weight: 12, arbitrary: fc.constant('/') },
  { weight: 1, arbitrary: fc.constantFrom('//', '/./', '/x/../', '/a/../') },
);
const start = fc.oneof(
  { weight: 6, arbitrary: fc.constant('') },
  { weight: 1, arbitrary: fc.constantFrom('./', '/', '//', '../', '/../', './/', 'b/../') },
);
const path = fc
  .tuple(start, components, fc.array(separator, { minLength: 4, maxLength: 4 }))
  .map(([first, parts, between]) =>
    parts.reduce<string>((text, part, i) => `${text}${i > 0 ? between[i] : ''}${part}`, first),
  );
const target = fc.oneof(
  path,
  path.map((each) => `/${each}`),
  fc.constantFrom(
    '/',
    '.',
    '..',
    '../..',
    '../a',
    '../../b',
    'a/..',
    './b/',
    '/c/',
    'a/../b',
    '/d/../../a',
    'none/../a',
  ),
);
const asWhiteout = (text: string): string => text.replace(/([^/]*)$/, '.wh.$1');

type Made = Pick<RawEntry, 'name' | 'type' | 'link'> & { readonly isEmpty?: boolean };
const entry: fc.Arbitrary<Made> = fc.oneof(
  { weight: 6, arbitrary: path.map((each) => ({ name: each })) },
  { weight: 1, arbitrary: path.map((each) => ({ name: each, isEmpty: true })) },
  { weight: 5, arbitrary: path.map((each) => ({ name: `${each}/` })) },
  { weight: 5, arbitrary: fc.tuple(path, target).map(([each, link]) => ({ name: each, type: '2', link })) },
  { weight: 4, arbitrary: fc.tuple(path, path).map(([each, link]) => ({ name: each, type: '1', link })) },
  { weight: 1, arbitrary: path.map((each) => ({ name: each, type: '1', link: each })) },
  { weight: 4, arbitrary: path.map((each) => ({ name: asWhiteout(each), isEmpty: true })) },
  { weight: 2, arbitrary: path.map((each) => ({ name: `${each}/.wh..wh..opq`, isEmpty: true })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('./', '/', '.wh..wh..opq', 'a/.wh.', 'a/.wh..wh.aufs', '.wh...', '..', '')
      .map((each) => ({
        name: each,
        isEmpty: true,
      })),
  },
);
const stacks = fc
  .array(fc.array(entry, { maxLength: 12 }), { minLength: 1, maxLength: 5 })
  // What tells entries apart: each has a content, a time and an owner of its own.
  .map((stack) =>
    stack.map((entries, layer) =>
      entries.map(({ isEmpty, ...each }, index): RawEntry => {
        const isFile = each.type === undefined && !each.name.endsWith('/');
        const content = isFile && isEmpty !== true ? `content ${layer}.${index}` : '';
        return { ...each, content, mode: 0o700 + index, mtime: 1000 + layer * 100 + index, uid: layer * 100 + index };
      }),
    ),
  );

test('layers over each other make the tree that a naive extractor makes, down to the contents', async () => {
  const whole = stacks.map(withoutRefused);
  await fc.assert(
    fc.asyncProperty(whole, async (stack) => {
      expect(await merge(stack)).toEqual(extract(stack));
    }),
    { numRuns: runs },
  );
});

test('what a naive extractor refuses is refused', async () => {
  await fc.assert(
    fc.asyncProperty(stacks, async (stack) => {
      const extracted = extract(stack);
      expect(await merge(stack)).toEqual(Array.isArray(extracted) ? extracted : null);
    }),
    { numRuns: runs },
  );
});

test('many opaque marks in a directory with many files take no longer than one', () => {
  const tree = createTree(madeSeconds);
  const apply = (path: string): void => {
    const meta = { ...tree.root.inode.meta, kind: 'file' as const, path };
    applyEntry(tree, meta, -1, path === 'd/old' ? 0 : 1);
  };
  apply('d/old');
  for (let i = 0; i < 60_000; i++) apply(`d/${i}`);
  for (let i = 0; i < 60_000; i++) apply('d/.wh..wh..opq');
  expect(findName(tree, ['d'])?.inode.children?.size).toBe(60_000);
}, 4000);

test('a path through a symlink with an endless target is refused in words', async () => {
  const below = (link: string) => merge([[{ name: 'l', type: '2', link }, { name: 'l/x' }]]);
  expect(await below('a/'.repeat(200_000))).toBe(null);
  expect(await below(`${'a/'.repeat(2000)}b`)).toHaveLength(2004);
});

test('many paths through long chains of long symlinks end soon', async () => {
  const link = (i: number): RawEntry => ({ name: `l${i}`, type: '2', link: `${'a/../'.repeat(600)}l${i + 1}` });
  const links = Array.from({ length: 250 }, (_, i) => link(i));
  const files = Array.from({ length: 3000 }, (_, i): RawEntry => ({ name: `l0/.wh.${i}` }));
  expect(await merge([[{ name: 'a/' }, ...links, ...files]])).toBe(null);
}, 4000);
