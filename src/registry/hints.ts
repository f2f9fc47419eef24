// SPDX-License-Identifier: Apache-2.0
import type { RequestFacts } from './errors.ts';

/** A status of HTTP in words that fit a registry. */
export function nameStatus(status: number, facts: RequestFacts): string {
  const isAnonymous = facts.identity.startsWith(anonymous);
  const names: Record<number, string> = {
    400: 'the registry did not understand the request',
    401: isAnonymous ? 'a login is needed' : 'the login was refused',
    403: 'access denied',
    404: 'not found',
    405: 'the registry does not do this',
    408: 'the registry timed out',
    413: 'it is too large for the registry',
    416: 'the registry cannot send the rest of it',
    429: 'too many requests',
    507: 'the registry has no space left',
  };
  return names[status] ?? (status >= 500 ? 'the registry is in trouble' : 'an answer that does not fit');
}

/** How requests without a credential are named; what was looked through may follow. */
export const anonymous = 'anonymous';

/** What to try after a status; '' when there is nothing better than the message. */
export function hintForStatus(status: number, facts: RequestFacts): string {
  const { registry, repository, identity } = facts;
  const isHub = registry === 'registry-1.docker.io';
  const command = isHub ? 'docker login' : `docker login ${registry}`;
  const login = `log in: give --user NAME, or add ${isHub ? 'auth.docker.io' : registry} to .credentials, or use \`${command}\``;
  const isAnonymous = identity.startsWith(anonymous);
  if (status === 401) return isAnonymous ? login : 'check the user and the password (a token may have expired)';
  if (status === 403) {
    return isAnonymous
      ? login
      : `this user may not do it with ${repository}: ask for the right, or give another --user`;
  }
  if (status === 404) {
    const secret = isAnonymous
      ? `; what is private is often called missing: ${login}`
      : '; this user may lack the right to see it';
    return `check the name and the tag${secret}`;
  }
  if (status === 429) return isAnonymous ? `wait; or, for a higher limit, ${login}` : 'wait, or ask for a higher limit';
  if (status === 408 || status >= 500) return 'try again later; ENROOT_TRANSFER_RETRIES sets how often it is tried';
  return '';
}
