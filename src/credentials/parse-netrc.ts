// SPDX-License-Identifier: Apache-2.0

/** An entry of a netrc file. */
export interface NetrcEntry {
  /** In lower case; '' for `default`. */
  readonly machine: string;
  /** '' when none is given. Literal, also `$oauthtoken`. */
  readonly login: string;
  /** null when none is given. */
  readonly password: string | null;
  /** The password is a shell's expression: it begins with `$`, outside of quotes (enroot, common::evalnetrc). */
  readonly isExpression: boolean;
}

export interface Netrc {
  readonly entries: readonly NetrcEntry[];
  /** What is wrong, by line and without any word of the file, which may be a secret. */
  readonly faults: readonly string[];
}

const maxFaults = 5;

type Mutable = { -readonly [K in keyof NetrcEntry]: NetrcEntry[K] };

/**
 * Reads netrc(5) as curl and enroot do: blanks and ends of lines are alike, `#` where a keyword may stand begins a comment, a value in double
 * quotes may have blanks and backslashes, macdef reaches to the next empty line.
 */
export function parseNetrc(text: string): Netrc {
  const entries: Mutable[] = [];
  const faults: string[] = [];
  const reader = new Reader(text);
  const fault = (what: string) => {
    // Of a file that is something else altogether a few are enough.
    if (faults.length < maxFaults) faults.push(`line ${reader.line}: ${what}`);
  };
  const readValue = (keyword: string): Value => {
    const value = reader.readValue();
    if (value === null) fault(`nothing, or nothing that ends, follows ${keyword}`);
    return value ?? { text: '', isQuoted: false, isMissing: true };
  };
  for (let word = reader.readKeyword(); word !== null; word = reader.readKeyword()) {
    const entry = entries.at(-1);
    switch (word) {
      case 'machine':
        entries.push({ machine: readValue(word).text.toLowerCase(), login: '', password: null, isExpression: false });
        break;
      case 'default':
        entries.push({ machine: '', login: '', password: null, isExpression: false });
        break;
      case 'login':
      case 'user':
      case 'password':
      case 'passwd':
      case 'account': {
        const value = readValue(word);
        if (entry === undefined) fault(`${word} stands before the first machine`);
        else if (word === 'login' || word === 'user') entry.login = value.text;
        else if (word !== 'account' && value.isMissing !== true) {
          entry.password = value.text;
          entry.isExpression = !value.isQuoted && value.text.startsWith('$');
        }
        break;
      }
      case 'macdef':
        reader.skipMacro();
        break;
      default:
        fault('a word that is no keyword is skipped (a value with blanks is written in double quotes)');
    }
  }
  return { entries, faults };
}

interface Value {
  readonly text: string;
  readonly isQuoted: boolean;
  readonly isMissing?: boolean;
}

class Reader {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  get line(): number {
    return this.#text.slice(0, this.#at).split('\n').length;
  }

  /** null at the end. */
  readKeyword(): string | null {
    while (this.#take(/\s+/y) !== '' || this.#take(/#[^\n]*/y) !== '');
    return this.#take(/\S+/y) || null;
  }

  /** null at the end, and where quotes or parentheses do not close. */
  readValue(): Value | null {
    this.#take(/\s+/y);
    if (this.#text[this.#at] === '"') return this.#readQuoted();
    if (this.#text[this.#at] === '$') return this.#readExpression();
    const text = this.#take(/\S+/y);
    return text === '' ? null : { text, isQuoted: false };
  }

  skipMacro(): void {
    this.#take(/[\s\S]*?(\n[ \t\r]*(?=\n)|$)/y);
  }

  #readQuoted(): Value | null {
    const found = this.#take(/"(\\[\s\S]|[^"\\])*"/y);
    if (found === '') {
      this.#take(/[^\n]*/y);
      return null;
    }
    const controls: Record<string, string> = { n: '\n', r: '\r', t: '\t' };
    return { text: found.slice(1, -1).replace(/\\([\s\S])/g, (_, c: string) => controls[c] ?? c), isQuoted: true };
  }

  /** Up to a blank outside of parentheses, braces and quotes, which all must close: `$(jq -r '.a | .b' "$FILE")`. */
  #readExpression(): Value | null {
    const start = this.#at;
    const open: string[] = [];
    for (; this.#at < this.#text.length; this.#at += 1) {
      const c = this.#text[this.#at] as string;
      const inside = open.at(-1);
      if (inside === "'") {
        if (c === "'") open.pop();
      } else if (c === '\\') this.#at += 1;
      else if (c === inside) open.pop();
      else if (c === '(' && inside !== '"') open.push(')');
      else if (c === '$' && /[({]/.test(this.#text[this.#at + 1] ?? '')) {
        this.#at += 1;
        open.push(this.#text[this.#at] === '(' ? ')' : '}');
      } else if (c === '"' || c === '`' || (c === "'" && inside !== '"')) open.push(c);
      else if (/\s/.test(c) && open.length === 0) break;
    }
    if (open.length === 0) return { text: this.#text.slice(start, this.#at), isQuoted: false };
    // Go on after the line: the rest of the file is not a part of this.
    this.#at = start;
    this.#take(/[^\n]*/y);
    return null;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }
}
