// SPDX-License-Identifier: Apache-2.0

/** An image in a registry. */
export interface RegistryReference {
  /** Who asks, as it was written (`$oauthtoken`, `me@example.com`); '' when nobody is named. */
  readonly user: string;
  /** `host[:port]` in lower case; Docker Hub is `registry-1.docker.io` whatever it was called. */
  readonly registry: string;
  /** With all its parts: `library/ubuntu`, `nvidia/cuda`. */
  readonly repository: string;
  /** '' when only a digest is given. With a digest it is for display only: the digest names the image. */
  readonly tag: string;
  /** `sha256:` and 64 hex digits (or sha512 and 128); '' when none. */
  readonly digest: string;
}
