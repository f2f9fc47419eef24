// SPDX-License-Identifier: Apache-2.0

/** Where else the images of a registry, or of a part of it, are to be had. */
export interface Mirror {
  /** `HOST[:PORT][/PATH]` in lower case. */
  readonly prefix: string;
  /** `[SCHEME://]HOST[:PORT][/PATH]`, in the order in which they are tried. */
  readonly endpoints: readonly string[];
}

const host = '([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?';
const prefixForm = new RegExp(`^${host}(/[a-z0-9._-]+)*$`);
const endpointForm = new RegExp(`^(https?://)?${host}(/[a-z0-9._-]+)*/?$`, 'i');

/**
 * Reads BUNDLER_MIRRORS: `docker.io=mirror.local:5000 nvcr.io=https://cache/ngc,http://localhost:5000`. A prefix that comes again gets further endpoints.
 * What is wrong is returned as text, without the endpoint, which may hold a password.
 */
export function parseMirrors(text: string): readonly Mirror[] | string {
  const mirrors = new Map<string, string[]>();
  for (const word of text.split(/\s+/).filter((part) => part !== '')) {
    const [, left = '', right = ''] = /^([^=]*)=(.*)$/.exec(word) ?? [];
    const prefix = left.toLowerCase();
    if (!prefixForm.test(prefix)) return 'it has a word that does not begin with REGISTRY[/PATH]=';
    const endpoints = right.split(',');
    if (endpoints.some((endpoint) => endpoint.includes('@'))) {
      return `the mirror of ${prefix} has a user, which belongs into a file of credentials`;
    }
    if (!endpoints.every(isEndpoint)) {
      return `the mirror of ${prefix} is not [https://]HOST[:PORT][/PATH]`;
    }
    mirrors.set(prefix, [...(mirrors.get(prefix) ?? []), ...endpoints.map((endpoint) => endpoint.replace(/\/$/, ''))]);
  }
  return [...mirrors].map(([prefix, endpoints]) => ({ prefix, endpoints }));
}

/** Also that a URL can be made of it: no port beyond 65535, no address as 999.1.1.1. */
function isEndpoint(endpoint: string): boolean {
  return endpointForm.test(endpoint) && URL.canParse(`https://${endpoint.replace(/^https?:\/\//i, '')}`);
}
