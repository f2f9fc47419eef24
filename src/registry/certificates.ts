// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { explain, Failure } from '../failure.ts';

/** What certs.d has for a host. */
export interface HostCertificates {
  /** PEM of further authorities. */
  readonly authorities: readonly string[];
  /** PEM of the client's certificates and keys. */
  readonly clients: readonly { readonly cert: string; readonly key: string }[];
}

/**
 * Reads `DIRECTORY/HOST:PORT/` of each directory: `*.crt` are authorities, `NAME.cert` with `NAME.key` a client's certificate (docker's layout,
 * dockerd(8) "certs.d"). Also `DIRECTORY/HOST/` where the port is 443. What is not there is not read; throws Failure for a certificate without its
 * key, a key without its certificate, and what cannot be read.
 */
export async function readHostCertificates(directories: readonly string[], url: URL): Promise<HostCertificates> {
  const port = url.port || '443';
  const names = port === '443' ? [url.hostname, `${url.hostname}:443`] : [`${url.hostname}:${port}`];
  const authorities: string[] = [];
  const clients: { cert: string; key: string }[] = [];
  for (const directory of directories.flatMap((parent) => names.map((name) => path.join(parent, name)))) {
    const files = await list(directory);
    const read = (file: string) =>
      explain(
        path.join(directory, file),
        () => readFile(path.join(directory, file), 'utf8'),
        'make it readable to you',
      );
    for (const file of files) {
      if (file.endsWith('.crt')) authorities.push(await read(file));
      if (file.endsWith('.cert')) {
        const key = `${file.slice(0, -'.cert'.length)}.key`;
        if (!files.includes(key)) throw unpaired(directory, file, key);
        clients.push({ cert: await read(file), key: await read(key) });
      }
      if (file.endsWith('.key') && !files.includes(`${file.slice(0, -'.key'.length)}.cert`)) {
        throw unpaired(directory, file, `${file.slice(0, -'.key'.length)}.cert`);
      }
    }
  }
  return { authorities, clients };
}

function unpaired(directory: string, file: string, other: string): Failure {
  return new Failure(`${path.join(directory, file)}: ${other} is not beside it`, {
    hint: 'a client certificate is NAME.cert with NAME.key; an authority is NAME.crt',
  });
}

async function list(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    // What others keep from us (root's own certs.d) is not for us; dockerd's is often closed.
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'].includes(code)) return [];
    throw error;
  }
}
