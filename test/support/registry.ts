// SPDX-License-Identifier: Apache-2.0
// Debian's docker-registry as a part of tests: one process, one storage directory, on a free port of this machine.
//
//   const registry = await startRegistry({ auth: 'htpasswd' });
//   await registry.push('oci:/path/to/layout:tag', 'library/x:1');   // by skopeo
//   ... `${registry.host}/library/x:1` with registryUser and registryPassword ...
//   await registry.stop();                                          // in afterAll
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { sessionDir } from './session.ts';
import type { TokenServer } from './token-server.ts';

/** The one user of registries with htpasswd. The password has what breaks careless quoting. */
export const registryUser = 'reader';
export const registryPassword = 'p@ss:w0rd/+%&"x';

export interface RegistryRigOptions {
  /** Who may do what: everybody (the default), registryUser with registryPassword, or whom a token server lets. */
  readonly auth?: 'none' | 'htpasswd' | TokenServer;
  /** PEM files: the registry then speaks https. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Locations without a host. */
  readonly relativeUrls?: boolean;
}

export interface TestRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** `http://127.0.0.1:PORT`, or https. */
  readonly url: string;
  /** Where it keeps everything: `docker/registry/v2/blobs/sha256/ab/abcd.../data`. */
  readonly storage: string;
  /** Copies an image into it by skopeo, from any of skopeo's sources (`oci:DIR:TAG`, `docker-archive:FILE`). */
  push(source: string, name: string, options?: readonly string[]): Promise<void>;
  /** Copies an image out of it by skopeo (`oci:DIR:TAG`). */
  pull(name: string, destination: string, options?: readonly string[]): Promise<void>;
  /** Ends the process, and removes what it stored. */
  stop(): Promise<void>;
}

/** Starts a registry; returns when it listens. */
export async function startRegistry(options: RegistryRigOptions = {}): Promise<TestRegistry> {
  const directory = mkdtempSync(path.join(sessionDir(), 'registry-'));
  const storage = path.join(directory, 'storage');
  mkdirSync(storage);
  const configuration = {
    version: 0.1,
    log: { level: 'info', formatter: 'json', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    http: {
      addr: '127.0.0.1:0',
      secret: 'not a secret',
      relativeurls: options.relativeUrls ?? false,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
    },
    ...authOf(options.auth ?? 'none', directory),
  };
  // JSON is YAML.
  writeFileSync(path.join(directory, 'config.yml'), JSON.stringify(configuration));
  // The kernel ends it with us, however we end.
  const argv = ['--pdeathsig', 'KILL', 'docker-registry', 'serve', path.join(directory, 'config.yml')];
  const child = spawn('setpriv', argv, { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env['PATH'] } });
  const host = await waitUntilListening(child);
  const authFile = path.join(directory, 'auth.json');
  writeFileSync(authFile, JSON.stringify({ auths: { [host]: { auth: passwordOf(options.auth ?? 'none') } } }));

  const skopeo = (...argv: string[]) =>
    promisify(execFile)('skopeo', ['--insecure-policy', 'copy', '--quiet', ...argv], { maxBuffer: 1 << 24 });
  return {
    host,
    storage,
    url: `${options.tls === undefined ? 'http' : 'https'}://${host}`,
    push: async (source, name, more = []) => {
      await skopeo(
        '--dest-tls-verify=false',
        `--dest-authfile=${authFile}`,
        ...more,
        source,
        `docker://${host}/${name}`,
      );
    },
    pull: async (name, destination, more = []) => {
      await skopeo(
        '--src-tls-verify=false',
        `--src-authfile=${authFile}`,
        ...more,
        `docker://${host}/${name}`,
        destination,
      );
    },
    stop: async () => {
      await end(child);
      if (process.env['BUNDLER_KEEP_TEMP'] !== '1') rmSync(directory, { recursive: true, force: true });
    },
  };
}

function authOf(auth: 'none' | 'htpasswd' | TokenServer, directory: string): object {
  if (auth === 'none') return {};
  if (auth === 'htpasswd') {
    const file = path.join(directory, 'htpasswd');
    writeFileSync(file, execFileSync('htpasswd', ['-nBi', '-C', '5', registryUser], { input: registryPassword }));
    return { auth: { htpasswd: { realm: 'test, "quoted"', path: file } } };
  }
  const { realm, service, issuer, certificateFile } = auth;
  return { auth: { token: { realm, service, issuer, rootcertbundle: certificateFile } } };
}

function passwordOf(auth: 'none' | 'htpasswd' | TokenServer): string {
  if (auth === 'none') return Buffer.from('nobody:nothing').toString('base64');
  const [user, password] = auth === 'htpasswd' ? [registryUser, registryPassword] : [auth.user, auth.password];
  return Buffer.from(`${user}:${password}`).toString('base64');
}

/** The address that it logs, as the port is the kernel's choice. */
async function waitUntilListening(child: ChildProcess): Promise<string> {
  if (child.stderr === null) throw new Error('no standard error');
  const lines: string[] = [];
  return await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status) => reject(new Error(`docker-registry ended with ${status}:\n${lines.join('\n')}`)));
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      lines.push(line);
      const address = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (address !== undefined) resolve(address);
    });
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
  await gone;
  clearTimeout(timer);
}
