// SPDX-License-Identifier: Apache-2.0
// An image of two layers with one of everything, for tests of what becomes of it on the way through import, load and export.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { compileNative } from '../native/compile.ts';
import { listTree } from '../native/image-rig.ts';
import { type LayerEncoding, writeLayout } from './oci-layout.ts';
import { makeRawTar, type RawEntry } from './raw-tar.ts';
import { sessionDir } from './session.ts';

const file = (name: string, content: string | Buffer = name, more: Partial<RawEntry> = {}): RawEntry => ({
  name,
  content,
  ...more,
});

/** A capability of file, with bytes above 0x7f: no UTF-8. */
const capability = Buffer.from('0100000280000000000000000000000000000000', 'hex').toString('latin1');
const longDirectory = `${'d'.repeat(120)}/${'e'.repeat(200)}`;

const lower: readonly RawEntry[] = [
  { name: './', mode: 0o755 },
  { name: 'bin/' },
  file('bin/busybox', readFileSync('/bin/busybox'), { mode: 0o755 }),
  { name: 'bin/sh', type: '2', link: 'busybox' },
  { name: 'etc/', mtime: 1_100_000_000 },
  file('etc/os-release', 'ID=sample\n'),
  file('bin/ping', 'ping', { mode: 0o755, pax: { 'SCHILY.xattr.security.capability': capability } }),
  file('noted', 'x', { pax: { 'SCHILY.xattr.user.note': 'a\nb=c' } }),
  file('bin/su', 'su', { mode: 0o4755 }),
  { name: 'tmp/', mode: 0o1777 },
  { name: 'home/me/', mode: 0o700, uid: 1000, gid: 100 },
  file('home/me/file', 'mine', { uid: 1000, gid: 4_000_000_000, mode: 0o600 }),
  file('secret', 'nobody may read this', { mode: 0o000 }),
  { name: 'closed/', mode: 0o711 },
  { name: 'closed/shut/', mode: 0o100 },
  file('closed/shut/inside', 'inside'),
  { name: 'closed/listed/', mode: 0o400 },
  file('closed/listed/inside', 'inside'),
  file('one', 'shared'),
  { name: 'two', type: '1', link: 'one' },
  { name: 'home/me/three', type: '1', link: 'one' },
  { name: 'dev/' },
  { name: 'dev/null', type: '3', mode: 0o666, major: 1, minor: 3 },
  { name: 'disk', type: '4', mode: 0o660, gid: 6, major: 8, minor: 1 },
  { name: 'pipe', type: '6', mode: 0o600 },
  file('removed', 'by the layer above'),
  file('replaced', 'old'),
  { name: 'opaque/' },
  file('opaque/hidden', 'hidden'),
];

const upper: readonly RawEntry[] = [
  file('.wh.removed', ''),
  file('replaced', 'new', { uid: 7, gid: 8 }),
  { name: 'opaque/', mode: 0o750 },
  file('opaque/.wh..wh..opq', ''),
  file('opaque/shown', 'shown'),
  { name: 'names/' },
  file('names/a b', ''),
  file('names/tab\ttab'),
  file('names/latin\xe9'),
  file('names/new\nline'),
  file('names/-rf'),
  file('names/...'),
  { name: `${'d'.repeat(120)}/` },
  { name: `${longDirectory}/` },
  file(`${longDirectory}/${'f'.repeat(255)}`, 'deep'),
  { name: 'names/long', type: '2', link: 't'.repeat(2000) },
  file('large', Buffer.alloc(700_001, 'some content, ')),
  file('late', 'late', { mtime: 2_200_000_000 }),
];

/** What most engines look at, and what only some do. */
export const sampleConfig = {
  Env: ['PATH=/bin', 'GREETING=hello there', 'QUOTED=it\'s "so"'],
  Entrypoint: ['/bin/sh', '-c'],
  Cmd: ['echo "$GREETING from $PWD as $(id -u)"'],
  WorkingDir: '/names/a place',
  User: '0:0',
  ExposedPorts: { '8080/tcp': {} },
  Labels: { 'org.example.label': 'a label' },
  StopSignal: 'SIGUSR1',
  Healthcheck: { Test: ['CMD', '/bin/true'], Interval: 30_000_000_000 },
};

/** The sample as an OCI layout, `oci:DIR:latest`. encoding: of its upper layer; the lower one is gzip. */
export function makeSampleLayout(
  config: Readonly<Record<string, unknown>> = sampleConfig,
  encoding: LayerEncoding = 'zstd',
): string {
  const layout = path.join(mkdtempSync(path.join(sessionDir(), 'sample-')), 'layout');
  chmodSync(path.dirname(layout), 0o755);
  writeLayout(layout, [{ tar: makeRawTar(lower) }, { tar: makeRawTar(upper), encoding }], config);
  return layout;
}

/** A line for each entry of a squashfs image. */
export function listImage(image: string): string[] {
  const text = execFileSync(compileNative('dump-image'), [image], { encoding: 'latin1', maxBuffer: 64 << 20 });
  return text.split('\n');
}

/** The same of what `umoci unpack` makes of `DIR:REF`. */
export function listUnpacked(image: string): string[] {
  const directory = mkdtempSync(path.join(sessionDir(), 'unpacked-'));
  try {
    execFileSync('umoci', ['unpack', '--image', image, path.join(directory, 'bundle')], { stdio: 'pipe' });
    return listTree(path.join(directory, 'bundle/rootfs'));
  } finally {
    execFileSync('rm', ['-rf', '--one-file-system', directory]);
  }
}

/** skopeo's answer to `inspect`, as a value. */
export function inspectBySkopeo(image: string, ...options: string[]): Record<string, unknown> {
  return JSON.parse(execFileSync('skopeo', ['inspect', ...options, image], { encoding: 'utf8', stdio: 'pipe' }));
}

/** The whole configuration of an image without what tells of its layers. */
export function readConfig(image: string, ...options: string[]): Record<string, unknown> {
  const { rootfs: _rootfs, history: _history, ...rest } = inspectBySkopeo(image, '--config', '--raw', ...options);
  return rest;
}
