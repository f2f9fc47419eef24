// SPDX-License-Identifier: Apache-2.0
// Images with any names in them, packed without a directory on disk, and questions about them as role copy answers them.
import { closeSync, fstatSync, mkdtempSync, openSync } from 'node:fs';
import path from 'node:path';
import type { Bytes } from '../../src/format/bytes.ts';
import type { Fact } from '../../src/format/wire.ts';
import { copyRanges, type ImageQuestion } from '../../src/launcher/copy.ts';
import { type InodeAttributes, type Packer, startPacker } from '../../src/launcher/pack.ts';
import { common, directory, plain, withTarget } from '../native/pack-rig.ts';
import { sessionDir } from '../support/session.ts';

/** What a path is: a regular file, the target of a symlink, or an empty directory. One Buffer at several paths is one file with several names. */
export type Content = Buffer | Bytes | null;

interface Node {
  readonly number: number;
  readonly content: Content;
  /** Of a directory. */
  readonly entries: ReadonlyMap<Bytes, Node> | null;
}

/** Packs files by their absolute paths; the directories on the way come by themselves. Gives the image's path. */
export async function packImage(contents: Readonly<Record<Bytes, Content>>): Promise<string> {
  const file = path.join(mkdtempSync(path.join(sessionDir(), 'asked-')), 'image.sqsh');
  const inodes: Node[] = [];
  const files = new Map<Buffer, Node>();
  const root = number(Object.entries(contents).map(([name, content]) => [name.split('/').slice(1), content]));
  await withTarget(file, async (target) => {
    const packer = startPacker(target, common);
    const stored = new Map([...files.keys()].map((content) => [content, packer.storeFile(content)]));
    for (const node of inodes) define(packer, node, stored);
    await packer.finish(inodes.length, root.number);
  });
  return file;

  /** Numbers what is in a directory, then the directory itself. */
  function number(paths: readonly [Bytes[], Content][]): Node {
    const below = Map.groupBy(paths, ([[name = '']]) => name);
    const entries = [...below].map(([name, items]): [Bytes, Node] => {
      const [[parts, content] = [[], null]] = items;
      if (parts.length === 1 && content !== null) return [name, numberFile(content)];
      return [name, number(items.filter(([all]) => all.length > 1).map(([all, what]) => [all.slice(1), what]))];
    });
    return add({ content: null, entries: new Map(entries.sort(([one], [other]) => (one < other ? -1 : 1))) });
  }

  function numberFile(content: Buffer | Bytes): Node {
    const known = typeof content === 'string' ? undefined : files.get(content);
    const node = known ?? add({ content, entries: null });
    if (typeof content !== 'string') files.set(content, node);
    return node;
  }

  function add(node: Omit<Node, 'number'>): Node {
    inodes.push({ ...node, number: inodes.length + 1 });
    return inodes.at(-1) as Node;
  }

  function define(packer: Packer, node: Node, stored: ReadonlyMap<Buffer, number>): void {
    const uses = inodes
      .flatMap(({ entries }) => [...(entries?.values() ?? [])])
      .filter((child) => child === node).length;
    const attributes: InodeAttributes = { ...plain, nlink: uses };
    if (typeof node.content === 'string') packer.defineSymlink(node.number, attributes, node.content);
    else if (node.content !== null) packer.defineFile(node.number, attributes, stored.get(node.content) ?? null);
    else {
      const parent = inodes.find(({ entries }) => [...(entries?.values() ?? [])].includes(node));
      const entries = [...(node.entries ?? [])].map(([name, child]) => ({ name, number: child.number }));
      packer.defineDirectory(node.number, directory, parent?.number ?? inodes.length + 1, entries);
    }
  }
}

type Asked = Partial<Omit<ImageQuestion, 'source' | 'offset' | 'sizeBytes'>>;

/** The launcher's answer about an image. */
export async function ask(image: string, question: Asked): Promise<readonly Fact[]> {
  const source = openSync(image, 'r');
  const asked = { paths: [], heads: [], looks: [], names: [], trees: [], prefixes: [], ...question };
  const range = { source, offset: 0, sizeBytes: 96, targetOffset: 0, digests: 'whole' } as const;
  const place = { source, offset: 0, sizeBytes: fstatSync(source).size };
  try {
    const copied = await withTarget(`${image}.copy`, (target) =>
      copyRanges(target, [range], () => {}, { ...place, ...asked }),
    );
    return copied.answer;
  } finally {
    closeSync(source);
  }
}

/** The values of a key, in their order. */
export function valuesOf(answer: readonly Fact[], key: Bytes): Bytes[] {
  return answer.filter(([name]) => name === key).map(([, value]) => value);
}
