// SPDX-License-Identifier: Apache-2.0

/** The bytes of a file are not what docs/format.md asks for. The message does not name the file: the caller does. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
  /** What to try, for the person who sees the message; may be empty. */
  readonly hint: string;

  constructor(message: string, hint = '') {
    super(message);
    this.hint = hint;
  }
}

/** The file ends before it should. */
export class TruncatedError extends FormatError {
  constructor(message: string) {
    super(message, 'download or copy the file again and compare its size with the original');
  }
}

/** The file is no bundle at all, as opposed to a damaged one. */
export class NotBundleError extends FormatError {}
