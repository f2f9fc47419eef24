// SPDX-License-Identifier: Apache-2.0

/** Query parameters that never hold a secret; the others may (signed URLs, upload states, tokens). */
const shownParameters = new Set(['account', 'digest', 'from', 'last', 'mount', 'n', 'ns', 'scope', 'service']);

/** A URL for people: without user, password and fragment, every query parameter that could be a secret as `***`. */
export function redactUrl(url: URL): string {
  const shown: string[] = [];
  let hidden = false;
  for (const [name, value] of url.searchParams) {
    if (shownParameters.has(name)) shown.push(`${name}=${value}`);
    else hidden = true;
  }
  if (hidden) shown.push('***');
  return cleanText(`${url.protocol}//${url.host}${url.pathname}${shown.length > 0 ? `?${shown.join('&')}` : ''}`, 1000);
}

/** Text of others on one line, without control characters (of terminals), no longer than maxLength. */
export function cleanText(text: string, maxLength: number): string {
  const line = text.replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return line.length > maxLength ? `${line.slice(0, maxLength)}...` : line;
}

/** Blots secrets out of text that comes from elsewhere: a server may echo what it was sent. */
export interface SecretMask {
  add(secret: string): void;
  /** Adds a password with the forms in which it is sent. */
  addPassword(user: string, password: string): void;
  mask(text: string): string;
}

/** A mask that knows no secret yet; those of fewer than three characters are never blotted out. */
export function createSecretMask(): SecretMask {
  const secrets = new Set<string>();
  const add = (secret: string) => {
    // Shorter ones would blot out half of every message.
    if (secret.length >= 3) secrets.add(secret);
  };
  return {
    add,
    addPassword: (user, password) => {
      add(password);
      add(encodeURIComponent(password));
      add(Buffer.from(`${user}:${password}`).toString('base64'));
    },
    mask: (text) => {
      let masked = text;
      for (const secret of secrets) masked = masked.replaceAll(secret, '***');
      return masked;
    },
  };
}
