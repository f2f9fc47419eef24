// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from './bytes.ts';

/** What the host says for `$(id -u)` and its kin; evaluated only when a value asks for it. */
export interface Asked {
  readonly variable: (name: string) => Bytes | undefined;
  /** The output of one of `knownCommands`. */
  readonly command: (command: string) => Bytes;
}

/** Commands in a value that need no shell. */
export const knownCommands: readonly string[] = ['id -u', 'id -un', 'id -g', 'nproc'];

/** Settings of enroot that are for importing and making images; the rest, and an administrator's own, may matter to hooks. */
const forBuilding =
  /^ENROOT_(GZIP_PROGRAM|ZSTD_OPTIONS|SQUASH_OPTIONS|MAX_(PROCESSORS|CONNECTIONS)|CONNECT_TIMEOUT|TRANSFER_(TIMEOUT|RETRIES)|ALLOW_HTTP|BUNDLE_\w+|FORCE_OVERRIDE|VERSION|\w+_PATH)$/;

/** enroot takes these spellings as "off" (its config::fini); the empty string is "off" too. */
export function isOff(value: Bytes): boolean {
  return /^(no?|N[oO]?|[fF](alse)?|FALSE|)$/.test(value);
}

/** Names that enroot.conf may set (enroot, config::load) and that a launch looks at. */
export function isLaunchSetting(name: string): boolean {
  return /^(ENROOT_[A-Z_]+|MELLANOX_\w+|NVIDIA_\w+)$/.test(name) && !forBuilding.test(name);
}

/** Lines of enroot.conf: a name, then its value after blanks or `=`. Other lines are left out, as enroot does. */
export function parseConf(text: Bytes): (readonly [name: string, value: Bytes])[] {
  return text.split('\n').flatMap((line) => {
    const [, name, value = ''] =
      /^[ \t]*([A-Za-z_][A-Za-z0-9_]*)(?:[ \t]*=[ \t]*|[ \t]+|$)(.*?)[ \t]*$/.exec(line) ?? [];
    return name === undefined ? [] : [[name, value] as const];
  });
}

/** `#ENROOT_X=y` lines of a configuration script (enroot.in, start). */
export function parseDirectives(script: Bytes): (readonly [name: string, value: Bytes])[] {
  const lines = script.split('\n').filter((line) => /^#[ \t]*ENROOT_/.test(line));
  return parseConf(lines.map((line) => line.slice(1)).join('\n')).filter(([name]) => /^ENROOT_[A-Z_]+$/.test(name));
}

/**
 * The value as `eval echo` would print it: words joined by one blank, with quotes, `~`, `$V`, `${V}`, `${V:-x}`, `${V-x}`, comments and
 * knownCommands. null where it takes a shell: patterns, other commands and other expansions.
 */
export function evaluateValue(text: Bytes, asked: Asked): Bytes | null {
  return new Reader(text, asked).readWords();
}

class Reader {
  #at = 0;
  readonly #text: Bytes;
  readonly #asked: Asked;

  constructor(text: Bytes, asked: Asked) {
    this.#text = text;
    this.#asked = asked;
  }

  readWords(): Bytes | null {
    const words: Bytes[] = [];
    let word: Bytes | null = null;
    while (this.#at < this.#text.length) {
      const c = this.#text[this.#at] as string;
      if (c === ' ' || c === '\t') {
        if (word !== null) words.push(word);
        word = null;
        this.#at += 1;
      } else if (c === '#' && word === null) {
        break;
      } else if (c === '$') {
        const value = this.#expand();
        if (value === null) return null;
        // An expansion outside of quotes is split at blanks, and one that is empty makes no word.
        const parts: Bytes[] = value.split(/[ \t\n]+/);
        if (value !== '') {
          for (const part of parts.slice(0, -1)) {
            if ((word ?? '') + part !== '') words.push((word ?? '') + part);
            word = null;
          }
          const last = parts.at(-1) as Bytes;
          if (last !== '') word = (word ?? '') + last;
        }
      } else if (c === '~' && word === null) {
        this.#at += 1;
        if (!/^([/ \t]|$)/.test(this.#text.slice(this.#at))) return null;
        word = this.#asked.variable('HOME') ?? '';
      } else {
        const part: Bytes | null = c === "'" ? this.#single() : c === '"' ? this.#double() : this.#plain();
        if (part === null) return null;
        word = (word ?? '') + part;
      }
    }
    if (word !== null) words.push(word);
    return words.join(' ');
  }

  #plain(): Bytes | null {
    const c = this.#text[this.#at] as string;
    if (/[`|&;<>()*?[\]{}!]/.test(c)) return null;
    if (c !== '\\') {
      this.#at += 1;
      return c;
    }
    const next = this.#text[this.#at + 1];
    this.#at += 2;
    return next ?? null;
  }

  #single(): Bytes | null {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) return null;
    const part = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return part;
  }

  #double(): Bytes | null {
    let out = '';
    for (this.#at += 1; this.#at < this.#text.length; ) {
      const c = this.#text[this.#at] as string;
      if (c === '"') {
        this.#at += 1;
        return out;
      }
      if (c === '`') return null;
      if (c === '$') {
        const value = this.#expand();
        if (value === null) return null;
        out += value;
      } else if (c === '\\' && /[$`"\\]/.test(this.#text[this.#at + 1] ?? '')) {
        out += this.#text[this.#at + 1];
        this.#at += 2;
      } else {
        out += c;
        this.#at += 1;
      }
    }
    return null;
  }

  /** What begins with `$`. */
  #expand(): Bytes | null {
    const rest = this.#text.slice(this.#at);
    const [found, plain, braced, operator, otherwise, command] =
      /^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?-)([^{}$`"'\\]*))?\}|\(([^()]*)\))/.exec(rest) ?? [];
    if (found === undefined) {
      if (/^\$([A-Za-z_0-9({'"#@*?$!-])/.test(rest)) return null;
      this.#at += 1;
      return '$';
    }
    this.#at += found.length;
    if (command !== undefined) {
      const known = command.trim().replace(/[ \t]+/g, ' ');
      return knownCommands.includes(known) ? this.#asked.command(known) : null;
    }
    const value = this.#asked.variable(plain ?? braced ?? '');
    if (operator === undefined) return value ?? '';
    return value === undefined || (operator === ':-' && value === '') ? (otherwise ?? '') : value;
  }
}
