// SPDX-License-Identifier: Apache-2.0

/** One way in which a server wants to be told who asks (RFC 9110 section 11.6.1). */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const schemePattern = new RegExp(`[\\s,]*(${token})(?=[\\s,]|$)`, 'y');
// A value without quotes is taken up to the next comma: some servers forget the quotes of a URL.
const parameterPattern = new RegExp(
  `[\\s,]*(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\[\\s\\S])*)(?:"|$)|([^\\s,"]*))`,
  'y',
);

/**
 * Reads the value of WWW-Authenticate: several challenges may stand in one header, and several headers joined by commas read the same.
 * What cannot be understood is left out.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  while (at < header.length) {
    const scheme = matchAt(schemePattern, header, at);
    if (scheme === null) {
      // Skip to where the next one may begin.
      const comma = header.indexOf(',', at + 1);
      if (comma === -1) break;
      at = comma;
      continue;
    }
    at += scheme[0].length;
    const parameters = new Map<string, string>();
    for (;;) {
      const parameter = matchAt(parameterPattern, header, at);
      if (parameter === null) break;
      at += parameter[0].length;
      const name = (parameter[1] as string).toLowerCase();
      const value = parameter[2]?.replace(/\\([\s\S])/g, '$1') ?? parameter[3] ?? '';
      if (!parameters.has(name)) parameters.set(name, value);
    }
    challenges.push({ scheme: (scheme[1] as string).toLowerCase(), parameters });
  }
  return challenges;
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}
