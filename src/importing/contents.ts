// SPDX-License-Identifier: Apache-2.0
import { posix } from 'node:path';
import { fromText } from '../format/bytes.ts';
import { imageRecordPath } from '../image/rootfs-facts.ts';
import type { AddedEntry } from '../layer/merge-layers.ts';
import { noXattrs } from '../layer/tar-entry.ts';
import type { ImageConfiguration } from '../source/config.ts';

export interface ImageOrigin {
  /** As enroot writes its provenance: `docker://REGISTRY#IMAGE:TAG`. */
  readonly reference: string;
  readonly manifestDigest: string;
  readonly config: ImageConfiguration;
  /** The configuration's JSON as it came. */
  readonly configBytes: Buffer;
}

/**
 * The files that turn an image's configuration into what enroot starts: /etc/rc (WORKDIR, ENTRYPOINT, CMD, labels as comments, provenance), /etc/rc.local,
 * /etc/environment (ENV) and /etc/fstab (VOLUME); and the whole configuration for bundler itself. They replace those of the image, as enroot's import does.
 */
export function makeContents(origin: ImageOrigin, mtimeSeconds: number): AddedEntry[] {
  const { config } = origin;
  const record = {
    reference: origin.reference,
    manifestDigest: origin.manifestDigest,
    config: JSON.parse(origin.configBytes.toString('utf8')),
  };
  const files: [path: string, mode: number, content: string][] = [
    ['/etc/rc', 0o755, writeRc(origin)],
    [
      '/etc/rc.local',
      0o644,
      '# Read by /etc/rc when the container starts: the place to change its command or its surroundings.\n',
    ],
    ['/etc/environment', 0o644, toLines(config.config.Env)],
    ['/etc/fstab', 0o644, toLines(Object.keys(config.config.Volumes).filter(canMountVolume).map(mountVolume))],
    [imageRecordPath, 0o644, `${JSON.stringify(record)}\n`],
  ];
  return files.map(([path, mode, content]) => ({
    entry: {
      path: fromText(path),
      kind: 'file',
      mode,
      uid: 0,
      gid: 0,
      mtimeSeconds,
      sizeBytes: Buffer.byteLength(content),
      link: '',
      major: 0,
      minor: 0,
      xattrs: noXattrs,
    },
    content: Buffer.from(content),
  }));
}

function writeRc({ config, reference }: ImageOrigin): string {
  const { Entrypoint: entrypoint, Cmd: cmd, Labels: labels, WorkingDir: workdir } = config.config;
  const directory = quote(workdir === '' ? '/' : workdir);
  const program = entrypoint.map((word) => `${quote(word)} `).join('');
  const all = [...entrypoint, ...(cmd.length === 0 && entrypoint.length === 0 ? ['/bin/sh'] : cmd)]
    .map(quote)
    .join(' ');
  const comments = Object.entries(labels).map(([name, value]) => `# ${oneLine(name)} ${oneLine(value)}\n`);
  return `# enroot-provenance: ${oneLine(reference)}
${comments.join('')}
mkdir -p ${directory} 2> /dev/null
cd ${directory} && unset OLDPWD || exit 1

[ ! -s /etc/rc.local ] || . /etc/rc.local

[ $# -gt 0 ] || exec ${all}
exec ${program}"$@"
`;
}

/** A path with a variable in it is whatever that becomes when the container starts, also one that leads out of its root. */
export function canMountVolume(path: string): boolean {
  return !path.includes('$');
}

/** enroot's line for a volume: a directory mounted on itself, which its containers, being directories, can be written to in. In a bundle it stays read-only without --rw. `..` must not lead to the host's directories. */
function mountVolume(path: string): string {
  const field = posix
    .normalize(`/${path}`)
    .replace(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return `\${ENROOT_ROOTFS}${field} ${field} none x-create=dir,bind,rw,nosuid,nodev`;
}

/** A variable with line breaks cannot be told in /etc/environment: it would become several. */
function toLines(lines: readonly string[]): string {
  return lines
    .filter((line) => !/[\n\0]/.test(line))
    .map((line) => `${line}\n`)
    .join('');
}

function oneLine(text: string): string {
  return text.replace(/[\n\r\0]/g, ' ');
}

/** A word for sh(1), whatever is in it. */
function quote(word: string): string {
  return `'${word.replaceAll('\0', '').replaceAll("'", "'\\''")}'`;
}
