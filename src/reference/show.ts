// SPDX-License-Identifier: Apache-2.0

const digestLike = /^((sha|md|blake|sm)[0-9a-z+._-]*:|[a-z0-9+._-]+:[0-9a-f]{32,}$)/i;

/** Cuts `USER@NAME@DIGEST` at its `@`s: the last one that no digest follows ends the user, which may hold others (a mail address). */
export function splitAtSigns(text: string): { user: string; name: string; digest: string } {
  const last = text.lastIndexOf('@');
  const hasDigest = last >= 0 && digestLike.test(text.slice(last + 1));
  const name = hasDigest ? text.slice(0, last) : text;
  const at = name.lastIndexOf('@');
  return {
    user: at < 0 ? '' : name.slice(0, at),
    name: name.slice(at + 1),
    digest: hasDigest ? text.slice(last + 1) : '',
  };
}

/**
 * A word of the command line as a message may show it: what may be a password between `:` and `@` becomes `***`, control characters become `?`,
 * and what is very long is cut.
 */
export function showReference(text: string): string {
  const [scheme = ''] = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text) ?? [];
  const rest = text.slice(scheme.length);
  const { user } = splitAtSigns(rest);
  const colon = user.indexOf(':');
  const shown = colon < 0 ? text : `${scheme}${user.slice(0, colon)}:***${rest.slice(user.length)}`;
  const clean = shown.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, '?');
  return clean.length > 300 ? `${clean.slice(0, 300)}…` : clean;
}
