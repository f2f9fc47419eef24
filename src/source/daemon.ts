// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { pipeline, Transform } from 'node:stream';
import { Failure } from '../failure.ts';
import { type DaemonAddress, type DaemonKind, findDaemon } from './daemon-address.ts';
import { askDaemon, explainUnreachable, maxLineBytes, readComplaint } from './daemon-request.ts';
import { openDockerArchive } from './docker-archive.ts';
import { openArchiveTree } from './file-tree.ts';
import type { Image } from './image.ts';
import { nameOfReference } from './names.ts';
import type { OpenFile } from './open-file.ts';
import type { SourceOptions } from './options.ts';
import { formatPlatform } from './platform.ts';
import { spool } from './spool.ts';

type DirectAddress = Exclude<DaemonAddress, { kind: 'ssh' }>;

/**
 * The image that a Docker or podman daemon has under a name; one that it has not is pulled by it. The image is kept in a temporary file without a
 * name meanwhile. Throws Failure. image: as parseImageUri lets it pass. Source: Docker Engine API, ImageGet and ImageCreate; podman's is compatible.
 */
export async function openDaemonImage(kind: DaemonKind, image: string, options: SourceOptions): Promise<Image> {
  const source = kind === 'docker' ? `dockerd://${image}` : `podman://${image}`;
  const address = findDaemon(kind, options.env);
  options.log?.(
    `${kind}: ${address.kind === 'unix' ? address.path : address.kind === 'tcp' ? `${address.host}:${address.port}` : address.url}`,
  );
  const file =
    address.kind === 'ssh'
      ? await saveByProgram(kind, image, address, options)
      : await save(kind, image, address, options);
  const tree = await openArchiveTree(file, source);
  const opened = await openDockerArchive(tree, source, '', options);
  return { ...opened, name: nameOfReference(image) };
}

async function save(
  kind: DaemonKind,
  image: string,
  address: DirectAddress,
  options: SourceOptions,
): Promise<OpenFile> {
  const { signal } = options;
  const name = image.split('/').map(encodeURIComponent).join('/');
  const looked = await askDaemon(kind, address, { method: 'GET', path: `/images/${name}/json`, signal });
  if (looked.statusCode === 404) {
    looked.destroy();
    await pull(kind, image, address, options);
  } else if (looked.statusCode !== 200) {
    throw new Failure(`${kind} does not give ${image}: ${await readComplaint(looked)}`);
  } else {
    looked.destroy();
  }
  const answer = await askDaemon(kind, address, { method: 'GET', path: `/images/${name}/get`, signal });
  if (answer.statusCode !== 200) throw new Failure(`${kind} does not give ${image}: ${await readComplaint(answer)}`);
  try {
    return await spool(answer, image, options);
  } catch (error) {
    // The daemon has no other way to say that it failed in the middle.
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error;
    throw new Failure(`${kind} broke off while it sent ${image}`, { hint: 'see its log', cause: error });
  }
}

async function pull(kind: DaemonKind, image: string, address: DirectAddress, options: SourceOptions): Promise<void> {
  options.log?.(`${kind} has no ${image} and is asked to pull it`);
  const [tagged = '', digest = ''] = image.split('@');
  const [, repository = tagged, tag = 'latest'] = /^(.+):([^/:]+)$/.exec(tagged) ?? [];
  const query = new URLSearchParams({ fromImage: repository, tag: digest || tag });
  if (options.platform !== null) query.set('platform', formatPlatform(options.platform));
  const path = `/images/create?${query}`;
  const answer = await askDaemon(kind, address, { method: 'POST', path, signal: options.signal });
  const hint = 'see that the name is right; a private one has to be pulled with the program of the daemon first';
  if (answer.statusCode !== 200)
    throw new Failure(`${kind} cannot pull ${image}: ${await readComplaint(answer)}`, { hint });
  const complaint = await followPull(answer, (status) => options.log?.(`${kind}: ${status}`));
  if (complaint !== '') throw new Failure(`${kind} cannot pull ${image}: ${complaint}`, { hint });
}

/** Reads the JSON lines of a pull to their end; the status is 200 even when it fails. Gives the error, or ''. */
async function followPull(answer: IncomingMessage, tell: (status: string) => void): Promise<string> {
  let complaint = '';
  let rest = '';
  const read = (line: string): void => {
    if (line.trim() === '') return;
    try {
      const { status, error, progress } = JSON.parse(line) as Record<string, unknown>;
      if (typeof error === 'string') complaint = error;
      else if (typeof status === 'string' && progress === undefined) tell(status);
    } catch {
      // A line that is cut off: the missing image is reported later.
    }
  };
  answer.setEncoding('utf8');
  for await (const chunk of answer) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxLineBytes) return 'what it says has no end';
    for (const line of lines) read(line);
  }
  read(rest);
  return complaint;
}

/** ssh hosts are reached by the daemon's own program, which knows the user's keys and the way to the socket there. */
async function saveByProgram(
  kind: DaemonKind,
  image: string,
  address: DaemonAddress & { kind: 'ssh' },
  options: SourceOptions,
): Promise<OpenFile> {
  const argv =
    kind === 'docker' ? ['--host', address.url, 'save', image] : ['--remote', '--url', address.url, 'save', image];
  const child = spawn(kind, argv, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...options.env } });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint = (complaint + data.toString()).slice(-1000);
  });
  const ended = once(child, 'close').then(
    ([status]) => {
      if (status === 0) return null;
      return new Failure(`${kind} does not give ${image} of ${address.url}: ${complaint.trim() || `status ${status}`}`);
    },
    (error: NodeJS.ErrnoException) => explainUnreachable(kind, address, error),
  );
  const check = new Transform({
    transform: (chunk, _encoding, done) => done(null, chunk),
    flush: (done) => void ended.then((failure) => done(failure)),
  });
  pipeline(child.stdout, check, () => child.kill());
  return spool(check, image, options);
}
