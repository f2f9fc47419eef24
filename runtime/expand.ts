// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';
import { Failure } from './failure.ts';

/** The value of a variable, undefined when it is unset. */
export type Lookup = (name: string) => Bytes | undefined;

/** Replaces every `${NAME}` by the variable, '' when it is unset, as enroot does in fstab and environment files. */
export function substitute(text: Bytes, lookUp: Lookup): Bytes {
  return text.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_all, name: string) => lookUp(name) ?? '');
}

/**
 * Expands a directory name as a shell would: `~`, `$V`, `${V}`, `${V-x}`, `${V:-x}`, nested; `\$` is a plain `$`.
 * Commands are not run: `$(..)` and backquotes are an error.
 */
export function expandPath(text: Bytes, lookUp: Lookup): Bytes {
  const home = text === '~' || text.startsWith('~/');
  if (home && !lookUp('HOME')) throw new Failure(`cannot expand ${text}: HOME is not set`);
  return home ? lookUp('HOME') + expand(text.slice(1), lookUp) : expand(text, lookUp);
}

function expand(text: Bytes, lookUp: Lookup): Bytes {
  let out = '';
  for (let at = 0; at < text.length; ) {
    const rest = text.slice(at);
    const plain = /^\$([A-Za-z_][A-Za-z0-9_]*)/.exec(rest);
    const braced = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(:?-|\})/.exec(rest);
    if (rest.startsWith('\\$') || rest.startsWith('\\\\')) {
      out += rest[1];
      at += 2;
    } else if (plain) {
      out += lookUp(plain[1] as string) ?? '';
      at += plain[0].length;
    } else if (braced) {
      const [head, name = '', operator] = braced;
      const value = lookUp(name);
      if (operator === '}') {
        out += value ?? '';
        at += head.length;
      } else {
        const end = closingBrace(text, at + head.length);
        const missing = value === undefined || (operator === ':-' && value === '');
        out += missing ? expand(text.slice(at + head.length, end), lookUp) : value;
        at = end + 1;
      }
    } else if (rest.startsWith('${') || rest.startsWith('$(') || rest.startsWith('`')) {
      throw new Failure(`cannot expand ${text}: only ~, $V, \${V} and \${V:-x} are understood`);
    } else {
      out += rest[0];
      at += 1;
    }
  }
  return out;
}

function closingBrace(text: Bytes, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    if (text.startsWith('${', at)) depth += 1;
    else if (text[at] === '}') {
      if (depth === 0) return at;
      depth -= 1;
    }
  }
  throw new Failure(`cannot expand ${text}: a closing brace is missing`);
}

/** A path of the caller's, made absolute; cwd '' when the current directory has no name (deleted, or outside of the root). */
export function absolutePath(path: Bytes, cwd: Bytes): Bytes {
  if (path.startsWith('/')) return path;
  if (cwd === '')
    throw new Failure(`cannot find ${path}: the current directory has no name here`, 'give an absolute path');
  return `${cwd === '/' ? '' : cwd}/${path}`;
}
