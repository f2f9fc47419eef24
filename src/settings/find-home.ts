// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** The user's home directory: HOME, else that of /etc/passwd (passwd(5)); '' when neither knows one. */
export function findHome(
  env: Readonly<Record<string, string | undefined>>,
  passwdFile = '/etc/passwd',
  uid = process.geteuid?.(),
): string {
  if (env['HOME']) return env['HOME'];
  let text: string;
  try {
    text = readFileSync(passwdFile, 'utf8');
  } catch {
    return '';
  }
  for (const line of text.split('\n')) {
    const fields = line.split(':');
    if (fields[2] === String(uid) && fields[5]?.startsWith('/')) return fields[5];
  }
  return '';
}
