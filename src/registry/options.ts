// SPDX-License-Identifier: Apache-2.0
import type { Keychain } from '../credentials/keychain.ts';

/** Where else the images of a registry (or of a part of it) are to be had. */
export interface Mirror {
  /** `HOST` or `HOST/PATH`: the images that it is for, by whole path components. `docker.io` means Docker Hub. */
  readonly prefix: string;
  /** `[https://]HOST[:PORT][/PATH]`, tried in this order; PATH takes the place of the prefix's path. */
  readonly endpoints: readonly string[];
}

export interface RegistryOptions {
  readonly keychain: Keychain;
  /** Whether plain HTTP may be spoken with hosts other than this machine (ENROOT_ALLOW_HTTP). */
  readonly allowHttp: boolean;
  /** Name lookup, connection and TLS together (ENROOT_CONNECT_TIMEOUT); 0: none. */
  readonly connectTimeoutSeconds: number;
  /** One transfer (ENROOT_TRANSFER_TIMEOUT); 0: none. */
  readonly transferTimeoutSeconds: number;
  /** Further tries without progress: a try that received bytes of a blob resets the count. 0: no second try at all. */
  readonly retries: number;
  readonly mirrors?: readonly Mirror[];
  /** Directories of the layout `DIR/HOST:PORT/{*.crt,*.cert,*.key}` (dockerd's certs.d). */
  readonly certificateDirectories?: readonly string[];
  /** Read for HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY (and in lower case), SSL_CERT_FILE and SSL_CERT_DIR. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told what happens, for --verbose; never a secret. */
  readonly log?: (text: string) => void;
  /** Told of every pause before another try, as nothing happens meanwhile; `log` unless given. */
  readonly onRetry?: (text: string) => void;
  /** How long nothing may arrive before a transfer is given up and tried again; 60 s unless told. */
  readonly stallTimeoutMs?: number;
  /** The first pause before another try; 500 ms unless told. */
  readonly retryDelayMs?: number;
}

/** The options with everything that was left out. */
export type FullOptions = Required<RegistryOptions>;

/** Options with what was left out filled in. */
export function completeOptions(options: RegistryOptions): FullOptions {
  return {
    mirrors: [],
    certificateDirectories: [],
    env: {},
    log: () => {},
    onRetry: options.log ?? (() => {}),
    stallTimeoutMs: 60_000,
    retryDelayMs: 500,
    ...options,
  };
}
