// SPDX-License-Identifier: Apache-2.0

export interface Made {
  readonly is64: boolean;
  readonly soname?: string;
  readonly needed?: readonly string[];
  readonly needs?: readonly (readonly string[])[];
  readonly defines?: readonly string[];
  /** Where the strings begin. */
  readonly stringsAt?: number;
}

/** A shared library of headers alone. Addresses are offsets and 0x10000. */
export function makeElf({ is64, soname, needed = [], needs = [], defines = [], stringsAt = 0x800 }: Made): Buffer {
  const file = Buffer.alloc(stringsAt + 0x400);
  let stringsEnd = stringsAt + 1;
  const add = (text: string) => {
    const at = stringsEnd - stringsAt;
    stringsEnd += file.write(`${text}\0`, stringsEnd, 'latin1');
    return at;
  };
  const word = (value: number, at: number) =>
    is64 ? file.writeBigUInt64LE(BigInt(value), at) : file.writeUInt32LE(value, at);
  const size = is64 ? 8 : 4;
  let needAt = 0x400;
  needs.forEach((versions, i) => {
    file.writeUInt16LE(versions.length, needAt + 2);
    file.writeUInt32LE(16, needAt + 8);
    versions.forEach((version, j) => {
      const aux = needAt + 16 * (j + 1);
      file.writeUInt32LE(add(version), aux + 8);
      file.writeUInt32LE(j + 1 < versions.length ? 16 : 0, aux + 12);
    });
    const next = 16 * (versions.length + 1);
    file.writeUInt32LE(i + 1 < needs.length ? next : 0, needAt + 12);
    needAt += next;
  });
  defines.forEach((version, i) => {
    const at = 0x600 + 28 * i;
    file.writeUInt32LE(20, at + 12);
    file.writeUInt32LE(i + 1 < defines.length ? 28 : 0, at + 16);
    file.writeUInt32LE(add(version), at + 20);
  });
  const dynamic = [
    ...needed.map((name) => [1, add(name)]),
    ...(soname === undefined ? [] : [[14, add(soname)]]),
    [5, stringsAt + 0x10000],
    [10, stringsEnd - stringsAt],
    ...(needs.length > 0 ? [[0x6ffffffe, 0x10400]] : []),
    ...(defines.length > 0 ? [[0x6ffffffc, 0x10600]] : []),
    [0, 0],
  ];
  dynamic.flat().forEach((value, i) => {
    word(value, 0x200 + size * i);
  });
  file.write('\x7fELF', 0, 'latin1');
  file.set([is64 ? 2 : 1, 1, 1], 4);
  file.writeUInt16LE(3, 16);
  file.writeUInt16LE(is64 ? 62 : 3, 18);
  word(64, is64 ? 32 : 28);
  file.writeUInt16LE(is64 ? 56 : 32, is64 ? 54 : 42);
  file.writeUInt16LE(2, is64 ? 56 : 44);
  const segments = [
    { type: 1, offset: 0, sizeBytes: file.length },
    { type: 2, offset: 0x200, sizeBytes: dynamic.length * size * 2 },
  ];
  segments.forEach(({ type, offset, sizeBytes }, i) => {
    const at = 64 + i * (is64 ? 56 : 32);
    file.writeUInt32LE(type, at);
    word(offset, at + (is64 ? 8 : 4));
    word(offset + 0x10000, at + (is64 ? 16 : 8));
    word(sizeBytes, at + (is64 ? 32 : 16));
  });
  return file;
}
