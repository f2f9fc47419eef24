// SPDX-License-Identifier: Apache-2.0
import type { Credential } from './keychain.ts';

/** For whom a credential is looked for. */
export interface Question {
  /** `host[:port]` in lower case. */
  readonly registry: string;
  /** '' for anybody. */
  readonly user: string;
  readonly repository: string;
  /** `host[:port]` of the token server; '' when it is not known. */
  readonly realmHost: string;
}

/** What a source says: a credential, or why it has none. Both lines are for people and without secrets. */
export type Answer = Credential | { readonly why: string };

/** One place that may have credentials. */
export interface CredentialSource {
  /** Throws Failure where a credential is there but cannot be had. */
  find(question: Question): Promise<Answer>;
}

/** What the sources need from outside. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's home directory; '' when there is none. */
  readonly home: string;
  /** Gets each warning once. */
  readonly warn: (text: string) => void;
}

/** A path as messages have it, with `~` for the home directory. */
export function showPath(path: string, home: string): string {
  const shown = home !== '' && home !== '/' && path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
  return shown.replace(/[\x00-\x1f\x7f-\x9f]/g, '?');
}

/** True when an entry's login serves whom a question asks for. */
export function servesUser(login: string, user: string): boolean {
  return user === '' || login === '' || login === user;
}
