// SPDX-License-Identifier: Apache-2.0
/** An entry of a handmade archive: whatever a writer could get wrong can be said. Strings are bytes (latin1). */
export interface RawEntry {
  readonly name: string;
  /** Type flag of the header; a directory ('5') when the name ends with a slash, else a file ('0'). */
  readonly type?: string;
  readonly content?: string | Buffer;
  /** Size in the header, where it is not that of the content. */
  readonly size?: number;
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  /** Records of a pax header in front of it, values as bytes. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
}

const block = 512;

/** The archive with its two blocks of zeros. */
export function makeRawTar(entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(encode), Buffer.alloc(2 * block)]);
}

function encode(entry: RawEntry): Buffer[] {
  const pax = { ...entry.pax };
  const name = entry.name.length > 100 ? entry.name.slice(0, 100) : entry.name;
  if (name !== entry.name) pax['path'] ??= Buffer.from(entry.name, 'latin1');
  const link = (entry.link ?? '').slice(0, 100);
  if (link !== (entry.link ?? '')) pax['linkpath'] ??= Buffer.from(entry.link ?? '', 'latin1');
  const content = Buffer.from(entry.content ?? '');
  const extended = Object.keys(pax).length === 0 ? [] : member({ name: 'pax', type: 'x' }, encodePax(pax));
  const type = entry.type ?? (entry.name.endsWith('/') ? '5' : '0');
  return [...extended, ...member({ ...entry, name, link, type }, content)];
}

/** Header, content, padding. */
export function member(entry: RawEntry, content: Buffer): Buffer[] {
  return [encodeRawHeader(entry, content.length), content, Buffer.alloc((block - (content.length % block)) % block)];
}

function encodeRawHeader(entry: RawEntry, contentBytes: number): Buffer {
  const type = entry.type ?? '0';
  const header = Buffer.alloc(block);
  const number = (at: number, sizeBytes: number, value: number): void => {
    if (value >= 0 && value < 8 ** (sizeBytes - 1))
      header.write(`${value.toString(8).padStart(sizeBytes - 1, '0')}\0`, at, 'latin1');
    else {
      header.writeBigInt64BE(BigInt(value), at + sizeBytes - 8);
      header.fill(value < 0 ? 0xff : 0, at, at + sizeBytes - 8);
      header[at] = (header[at] ?? 0) | 0x80;
    }
  };
  header.write(entry.name, 0, 'latin1');
  number(100, 8, entry.mode ?? (type === '5' ? 0o755 : type === '2' ? 0o777 : 0o644));
  number(108, 8, entry.uid ?? 0);
  number(116, 8, entry.gid ?? 0);
  number(124, 12, entry.size ?? contentBytes);
  number(136, 12, entry.mtime ?? 1_000_000_000);
  header.write(type, 156, 'latin1');
  header.write(entry.link ?? '', 157, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  number(329, 8, entry.major ?? 0);
  number(337, 8, entry.minor ?? 0);
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function encodePax(records: Readonly<Record<string, string | Buffer>>): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.concat([
      Buffer.from(` ${key}=`, 'latin1'),
      Buffer.from(value as string, 'latin1'),
      Buffer.from('\n'),
    ]);
    let sizeBytes = rest.length + 1;
    while (`${sizeBytes}`.length + rest.length !== sizeBytes) sizeBytes = `${sizeBytes}`.length + rest.length;
    return Buffer.concat([Buffer.from(`${sizeBytes}`), rest]);
  });
  return Buffer.concat(lines);
}
