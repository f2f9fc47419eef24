// SPDX-License-Identifier: Apache-2.0

/** What to say to a registry or to its token server. */
export interface Credential {
  /** Where it was found, for messages: `file ~/.config/enroot/.credentials, machine nvcr.io`. No secret. */
  readonly source: string;
  /** May be '' with tokens. */
  readonly user: string;
  readonly secret: string;
  /** An identity token is an OAuth2 refresh token for the token server; a registry token is a bearer token for the registry itself. */
  readonly kind: 'password' | 'identity-token' | 'registry-token';
}

/** Where credentials come from. */
export interface Keychain {
  /**
   * The first credential for a registry (`host[:port]`); null when there is none. `user` is '' for anybody; `repository` matters to keys that name a
   * namespace; `realmHost` is the host of the registry's token server where that is known. Throws Failure where a credential is there but cannot be had.
   */
  find(registry: string, options: { user: string; repository: string; realmHost?: string }): Promise<Credential | null>;
  /** What was looked at so far and why it did not serve, for --verbose. No secrets. */
  readonly looked: readonly string[];
}
