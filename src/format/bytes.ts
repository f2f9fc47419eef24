// SPDX-License-Identifier: Apache-2.0

/**
 * A byte string: one character (0 to 255) for each byte. Arguments, environment and paths are bytes on Linux and need
 * not be UTF-8, so the planner keeps them in this form and never guesses an encoding.
 */
export type Bytes = string;

/** Encodes Unicode text (a JSON string, a literal with non-ASCII letters) as a byte string in UTF-8. */
export function fromText(text: string): Bytes {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** Decodes a byte string as UTF-8 for showing it; bytes that are not UTF-8 become U+FFFD. */
export function toText(bytes: Bytes): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** The bytes themselves, for a system call or a wire. */
export function toBuffer(bytes: Bytes): Buffer {
  return Buffer.from(bytes, 'latin1');
}

/** A byte string of a buffer's bytes. */
export function fromBuffer(buffer: Uint8Array): Bytes {
  return Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString('latin1');
}

/** A word as a shell reads it back, quoted only where it must be. */
export function quoteForShell(word: string): string {
  return /^[\w@%+=:,./\x80-\uffff-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
