// SPDX-License-Identifier: Apache-2.0
import type { RawEntry } from '../support/raw-tar.ts';

/** A stack of layers, lowest first, as an image has them. */
export interface Stack {
  readonly layers: readonly (readonly RawEntry[])[];
  /** What `umoci unpack` makes of it: the same tree unless said; `refuses`, or a known fault, with the reason. */
  readonly umoci?: 'refuses' | { readonly fault: string };
  /** What the error must say where the stack cannot be an image. */
  readonly refused?: RegExp;
}

const file = (name: string, content = name, more: Partial<RawEntry> = {}): RawEntry => ({ name, content, ...more });
const dir = (name: string, more: Partial<RawEntry> = {}): RawEntry => ({ name: `${name}/`, ...more });
const symlink = (name: string, link: string): RawEntry => ({ name, type: '2', link });
const hardlink = (name: string, link: string): RawEntry => ({ name, type: '1', link });
const whiteout = (name: string): RawEntry => ({ name: name.replace(/([^/]*)$/, '.wh.$1'), content: '' });
const opaque = (name: string): RawEntry => ({ name: `${name}/.wh..wh..opq`, content: '' });
const range = (count: number): number[] => [...Array(count).keys()];
const base: readonly RawEntry[] = [
  dir('a'),
  file('a/one'),
  file('a/two'),
  dir('a/sub'),
  file('a/sub/deep'),
  file('top'),
];

/** A capability of file, with bytes above 0x7f: no UTF-8. */
const capability = Buffer.from('0100000280000000000000000000000000000000', 'hex').toString('latin1');

export const stacks: Readonly<Record<string, Stack>> = {
  // Ordinary images.
  'one layer with one file': { layers: [[file('x')]] },
  'no file at all': { layers: [[]] },
  'two layers side by side': { layers: [base, [file('b')]] },
  'a file replaced by an upper layer': {
    layers: [base, [file('a/one', 'new', { mode: 0o600, uid: 7, gid: 8, mtime: 1_100_000_000 })]],
  },
  'a file replaced three times': { layers: [[file('x', '1')], [file('x', '2')], [file('x', '3')]] },
  'a directory with new attributes above its old content': {
    layers: [base, [dir('a', { mode: 0o711, uid: 3, gid: 4, mtime: 1_200_000_000 })]],
  },
  'the root directory with attributes': {
    layers: [[{ name: './', mode: 0o711, uid: 5, gid: 6, mtime: 900_000_000 }, file('x')]],
  },
  'the root directory changed by an upper layer': {
    layers: [[{ name: './', mode: 0o711 }, file('x')], [{ name: './', mode: 0o750, gid: 9 }]],
  },
  'parents that no layer describes': { layers: [[file('no/such/parent/x')]] },
  'a parent that an upper layer describes': {
    layers: [[file('p/q/x')], [dir('p', { mode: 0o700 }), dir('p/q', { mode: 0o750, uid: 1 })]],
  },
  'a directory described after what is in it': {
    layers: [[file('d/x'), dir('d', { mode: 0o500, uid: 12, mtime: 800_000_000 })]],
  },
  'an empty layer in the middle': { layers: [base, [], [file('b')]] },
  'the same layer twice': { layers: [base, base] },
  'names with a dot in front': {
    layers: [[{ name: './' }, dir('./a'), file('./a/x'), symlink('./l', './a/x'), hardlink('./h', './a/x')]],
  },
  'absolute names': {
    layers: [
      [dir('/a'), file('/a/x'), hardlink('/h', '/a/x'), symlink('/l', '/a')],
      [whiteout('/a/x'), file('//a//y')],
    ],
  },
  'setuid, setgid and sticky': {
    layers: [
      [
        file('s', '', { mode: 0o4755 }),
        file('g', 'x', { mode: 0o2755 }),
        dir('t', { mode: 0o1777 }),
        dir('sg', { mode: 0o2775 }),
      ],
    ],
  },
  'owners up to the largest number': {
    layers: [[file('x', 'x', { uid: 1000, gid: 4_000_000_000 }), file('y', 'y', { uid: 3_999_999_999, gid: 65534 })]],
  },
  'times before 1970 become 1970': {
    layers: [[file('x', 'x', { pax: { mtime: '0.25' } }), file('y', 'y', { pax: { mtime: '1234567890.987654321' } })]],
  },
  'devices and fifos': {
    layers: [
      [
        dir('dev'),
        { name: 'dev/null', type: '3', mode: 0o666, major: 1, minor: 3 },
        { name: 'dev/sda', type: '4', mode: 0o660, gid: 6, major: 8, minor: 0 },
        { name: 'pipe', type: '6', mode: 0o600 },
      ],
    ],
  },
  'extended attributes and file capabilities': {
    layers: [
      [
        file('ping', 'x', { mode: 0o755, pax: { 'SCHILY.xattr.security.capability': capability } }),
        file('noted', 'x', { pax: { 'SCHILY.xattr.user.note': 'a\nb=c' } }),
        { name: 'd/', pax: { 'SCHILY.xattr.user.dir': 'yes' } },
      ],
      [file('other', 'x', { pax: { 'SCHILY.xattr.user.note': 'a\nb=c' } })],
    ],
  },
  'an empty attribute': {
    layers: [[file('x', 'x', { pax: { 'SCHILY.xattr.user.empty': '' } })]],
    umoci: { fault: 'takes an empty value for none' },
  },
  'a file that loses its attributes to an upper one': {
    layers: [[file('x', 'x', { pax: { 'SCHILY.xattr.user.a': '1' } })], [file('x', 'y')]],
  },
  'long names and links': {
    layers: [
      [
        file(`${'d'.repeat(200)}/${'e'.repeat(255)}/${'f'.repeat(100)}`),
        symlink('long', 't'.repeat(2000)),
        hardlink('hard', `${'d'.repeat(200)}/${'e'.repeat(255)}/${'f'.repeat(100)}`),
      ],
    ],
  },
  'GNU long names and links': {
    layers: [
      [
        { name: '././@LongLink', type: 'L', content: `${'n'.repeat(180)}\0` },
        file('cut', 'long'),
        { name: '././@LongLink', type: 'K', content: `${'t'.repeat(180)}\0` },
        symlink('gnu', 'cut'),
      ],
    ],
  },
  'names that are no text': {
    layers: [
      [
        file('\xff\xfe'),
        file('new\nline'),
        file('tab\there'),
        file(' blanks '),
        file('back\\slash'),
        file('\xc3\xa9'),
        dir('\x80'),
      ],
    ],
  },
  'names that only look like whiteouts': { layers: [base, [file('a/.whx'), file('a/x.wh.one'), file('.wh')]] },
  'a directory with many names': {
    layers: [
      [dir('many'), ...range(1500).map((i) => file(`many/${i}-${'n'.repeat(i % 50)}`, `${i}`))],
      range(500).map((i) => whiteout(`many/${i * 3}-${'n'.repeat((i * 3) % 50)}`)),
    ],
  },
  'a deep tree': {
    layers: [[file(`${'d/'.repeat(95)}x`)], [file(`${'d/'.repeat(80)}y`), whiteout(`${'d/'.repeat(94)}d`)]],
  },
  'contents around the size of a block': {
    layers: [[0, 1, 131071, 131072, 131073, 262144, 400000].map((size) => file(`size-${size}`, 'x'.repeat(size)))],
  },
  'equal contents under many names': { layers: [range(20).map((i) => file(`copy-${i}`, 'same'.repeat(50_000)))] },
  'contents of zeros': {
    layers: [
      [
        file('zeros', '\0'.repeat(300_000)),
        file('tail', `${'\0'.repeat(262_144)}x`),
        file('head', `x${'\0'.repeat(262_143)}`),
      ],
    ],
  },

  // Whiteouts.
  'a file whited out': { layers: [base, [whiteout('a/one')]] },
  'a directory whited out': { layers: [base, [whiteout('a')]] },
  'a whiteout of nothing': { layers: [base, [whiteout('a/none'), whiteout('no/such/place')]] },
  'a file whited out, and back in the next layer': { layers: [base, [whiteout('a/one')], [file('a/one', 'back')]] },
  'a directory whited out, and back in the next layer with less in it': {
    layers: [base, [whiteout('a')], [dir('a'), file('a/three')]],
  },
  'an opaque directory': { layers: [base, [dir('a'), opaque('a'), file('a/new')]] },
  'an opaque mark after the files of its layer': {
    layers: [base, [dir('a'), file('a/new'), file('a/sub/new'), opaque('a')]],
  },
  'an opaque directory that no entry describes': { layers: [base, [opaque('a/sub')]] },
  'an opaque root': { layers: [base, [{ name: '.wh..wh..opq', content: '' }, file('only')]] },
  'opaque in the middle of three': { layers: [[dir('a'), file('a/1')], [opaque('a'), file('a/2')], [file('a/3')]] },
  'a whiteout before what comes in the same layer': { layers: [base, [whiteout('a/one'), file('a/one', 'new')]] },
  'a whiteout after what comes in the same layer': { layers: [base, [file('a/one', 'new'), whiteout('a/one')]] },
  'a directory whited out and made again in one layer': {
    layers: [base, [whiteout('a'), dir('a', { mode: 0o700 }), file('a/fresh')]],
  },
  'a directory made again and whited out after it in one layer': {
    layers: [base, [dir('a', { mode: 0o700 }), file('a/fresh'), whiteout('a')]],
  },
  'a whiteout of a symlink leaves its target': {
    layers: [[dir('d'), file('d/x'), symlink('l', 'd')], [whiteout('l')]],
  },
  'a whiteout through a symlink': {
    layers: [[dir('d'), file('d/x'), file('d/y'), symlink('l', 'd')], [whiteout('l/x')]],
  },
  'an opaque mark through a symlink': {
    layers: [
      [dir('d'), file('d/x'), symlink('l', 'd')],
      [opaque('l'), file('l/new')],
    ],
  },
  'marks that old filesystems left': {
    layers: [
      base,
      [
        { name: '.wh..wh.plnk/', mode: 0o700 },
        { name: '.wh..wh.aufs', content: '' },
      ],
    ],
  },

  // One kind in another's place.
  'a directory replaced by a file': { layers: [base, [file('a', 'now a file')]] },
  'a file replaced by a directory with content': { layers: [base, [dir('top'), file('top/x')]] },
  'a directory replaced by a symlink': {
    layers: [[dir('a'), file('a/x'), dir('b'), file('b/y')], [symlink('a', 'b')]],
  },
  'a symlink replaced by a directory': {
    layers: [
      [dir('d'), file('d/x'), symlink('l', 'd')],
      [dir('l'), file('l/y')],
    ],
  },
  'a symlink replaced by a file': { layers: [[file('t'), symlink('l', 't')], [file('l', 'own')]] },
  'directory, file, directory': { layers: [[dir('p'), file('p/old')], [file('p', 'file')], [dir('p'), file('p/new')]] },
  'directory, whiteout, directory': {
    layers: [[dir('p'), file('p/old')], [whiteout('p')], [dir('p', { mode: 0o700 })]],
  },
  'the same file twice in a layer': { layers: [[file('x', 'first'), file('x', 'second')]] },
  'the same directory twice in a layer': {
    layers: [[dir('d', { mode: 0o700 }), file('d/x'), dir('d', { mode: 0o711 })]],
  },
  'a file and then a directory of one name in a layer': { layers: [[file('x'), dir('x'), file('x/y')]] },
  'a directory and then a file of one name in a layer': { layers: [[dir('x'), file('x/y'), file('x', 'flat')]] },

  // Hard links.
  'hard links in a layer': {
    layers: [[file('x'), hardlink('y', 'x'), hardlink('z', 'y'), dir('d'), hardlink('d/w', 'x')]],
  },
  'a hard link to a file of a lower layer': { layers: [base, [hardlink('again', 'a/one')]] },
  'a hard link whose target an upper layer whites out': {
    layers: [base, [hardlink('again', 'a/one')], [whiteout('a/one')]],
  },
  'a hard link whose target an upper layer replaces': {
    layers: [base, [hardlink('again', 'a/one')], [file('a/one', 'other')]],
  },
  'a hard link whose target its own layer whites out': {
    layers: [base, [hardlink('again', 'a/one'), whiteout('a/one')]],
  },
  'a hard link over a file': { layers: [base, [hardlink('top', 'a/one')]] },
  'a hard link to a symlink': { layers: [[symlink('l', 'nowhere'), hardlink('m', 'l')]] },
  'a hard link through a symlink': { layers: [[dir('d'), file('d/x'), symlink('l', 'd'), hardlink('h', 'l/x')]] },
  'hard links to an empty file and a device': {
    layers: [[file('e', ''), hardlink('f', 'e'), { name: 'n', type: '3', major: 1, minor: 5 }, hardlink('o', 'n')]],
  },
  'links over three layers, one name gone': {
    layers: [
      [file('x', 'data'), hardlink('y', 'x')],
      [hardlink('z', 'y'), whiteout('x')],
      [hardlink('w', 'z'), file('y', 'new')],
    ],
  },

  // Paths that lead somewhere else.
  'a file below a symlink of a lower layer': {
    layers: [[dir('usr'), dir('usr/lib'), symlink('lib', 'usr/lib')], [file('lib/x')]],
  },
  'a file below an absolute symlink of a lower layer': {
    layers: [
      [dir('usr/lib'), symlink('lib', '/usr/lib')],
      [file('lib/x'), file('lib/new/y')],
    ],
  },
  'a file below a symlink that leads out': { layers: [[symlink('out', '../../../../tmp')], [file('out/x')]] },
  'a file below a symlink to nowhere': { layers: [[symlink('l', 'not/there/yet'), file('l/x')]] },
  'a file below a chain of symlinks': {
    layers: [[dir('r'), symlink('a', 'b'), symlink('b', '/c'), symlink('c', 'r/../r')], [file('a/x')]],
  },
  'a file hidden by name that a symlink saves': {
    layers: [[dir('usr/lib'), symlink('lib', 'usr/lib'), file('lib/kept', 'kept'.repeat(100_000))], [whiteout('lib')]],
  },
  'a replaced symlink that saves a file': {
    layers: [[dir('usr/lib'), symlink('lib', 'usr/lib'), file('lib/kept', 'kept')], [file('lib', 'no link any more')]],
  },
  'names that climb out': { layers: [[file('../../x'), file('a/../../y'), file('/../z'), hardlink('h', '../../x')]] },
  'names with dots inside': { layers: [[file('a/./b/../c'), dir('./d/.'), file('d//x')]] },
  'a symlink to the root': { layers: [[symlink('r', '/'), file('r/x')], [file('r/r/y')]] },
  'a file below a file of a lower layer': { layers: [[file('f', 'file')], [file('f/x')]], umoci: 'refuses' },
  'a file below a file of its own layer': {
    layers: [[file('f'), file('f/x')]],
    umoci: 'refuses',
    refused: /f\/?x? would lie below the file f/,
  },
  'a loop of symlinks': {
    layers: [[symlink('a', 'b'), symlink('b', 'a'), file('a/x')]],
    umoci: 'refuses',
    refused: /symbolic links/,
  },
  'a hard link to nothing': {
    layers: [[hardlink('h', 'none')]],
    umoci: 'refuses',
    refused: /h is a hard link to none, which is not there/,
  },
  'a hard link to a directory': {
    layers: [[dir('d'), hardlink('h', 'd')]],
    umoci: 'refuses',
    refused: /hard link to the directory d/,
  },
  'a file below a symlink that goes up from nowhere': {
    layers: [[dir('d'), symlink('l', 'none/../d')], [file('l/x')], [whiteout('l/y'), file('l/z')]],
  },
  'a file below a symlink that goes up from a file of a lower layer': {
    layers: [
      [dir('d'), file('f', 'stays'), symlink('l', 'f/../d')],
      [file('l/x'), hardlink('h', 'l/x')],
    ],
  },
  'a whiteout below a symlink that goes up from nowhere': {
    layers: [[dir('d'), file('d/x'), symlink('l', 'none/../d')], [whiteout('l/x')]],
  },
  'a whiteout below a loop of symlinks': {
    layers: [[symlink('a', 'b'), symlink('b', 'a')], [whiteout('a/x')]],
    umoci: 'refuses',
    refused: /symbolic links/,
  },
  'a symlink in place of the root': {
    layers: [[symlink('/', '/tmp'), file('x')]],
    umoci: 'refuses',
    refused: /the root directory as a symlink/,
  },
  'a whiteout of no name': {
    layers: [base, [{ name: 'a/.wh.', content: '' }]],
    umoci: { fault: 'removes the directory itself' },
    refused: /a whiteout of no name/,
  },
  'a whiteout of the parent': {
    layers: [base, [{ name: 'a/sub/.wh...', content: '' }]],
    umoci: { fault: 'removes the parent directory' },
    refused: /a whiteout of no name/,
  },
};
