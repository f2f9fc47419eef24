// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll } from 'vitest';
import { createKeychain, type KeychainOptions } from '../../src/credentials/create-keychain.ts';
import type { Credential } from '../../src/credentials/keychain.ts';

const scratch = mkdtempSync(join(tmpdir(), 'keychain-'));
afterAll(() => rmSync(scratch, { recursive: true }));
export const hub = 'registry-1.docker.io';
let count = 0;

/** A home directory with files; those of bin/ may be executed, the others read by their owner only. */
function makeHome(files: Readonly<Record<string, string | object>>): string {
  count += 1;
  const home = join(scratch, String(count));
  for (const [name, content] of Object.entries(files)) {
    const path = join(home, name);
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    chmodSync(path, name.startsWith('bin/') ? 0o755 : 0o600);
  }
  return home;
}

/** enroot's file of credentials, below a home directory. */
export const credentials = '.config/enroot/.credentials';
export const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });

interface Setup extends Partial<Omit<KeychainOptions, 'env' | 'home' | 'warn'>> {
  /** Variables besides the usual ones; they may name the home. */
  readonly env?: Readonly<Record<string, string>> | ((home: string) => Readonly<Record<string, string>>);
  readonly files?: Readonly<Record<string, string | object>>;
}

/** A keychain of a home with these files, and what it warns of. */
export function open(setup: Setup) {
  const home = makeHome(setup.files ?? {});
  const env = typeof setup.env === 'function' ? setup.env(home) : setup.env;
  const warnings: string[] = [];
  const keychain = createKeychain({
    registries: [],
    configDirectory: join(home, '.config/enroot'),
    ...setup,
    env: { HOME: home, PATH: `${home}/bin:/usr/bin:/bin`, XDG_RUNTIME_DIR: join(home, 'run'), ...env },
    home,
    warn: (text) => warnings.push(text),
  });
  const find = (registry: string, user = '', repository = 'a/b', realmHost?: string) =>
    keychain.find(registry, { user, repository, ...(realmHost === undefined ? {} : { realmHost }) });
  return { home, warnings, keychain, find };
}

/** User, secret and source of what was found. */
export const short = (found: Credential | null) => found && [found.user, found.secret, found.source];
