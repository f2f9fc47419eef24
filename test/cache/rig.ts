// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Descriptor } from '../../src/source/image.ts';
import type { DriverOptions } from './driver.ts';

export interface SampleBlob extends Descriptor {
  readonly bytes: Buffer;
}

/** Bytes that look random and are the same each time, without a repetition that would hide a shift. */
export function makeBlob(sizeBytes: number, seed = 1, algorithm: 'sha256' | 'sha512' = 'sha256'): SampleBlob {
  const bytes = Buffer.alloc(sizeBytes);
  let state = seed;
  for (let at = 0; at + 4 <= sizeBytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 15)) >>> 0, at);
  }
  const digest = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
  return { mediaType: 'application/octet-stream', digest, sizeBytes, bytes };
}

export function makeScratch(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'bundler-cache-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** All files below a directory, with their paths relative to it. */
export function listFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** The blobs whose content does not have the digest that their name says. */
export function findWrongBlobs(directory: string): string[] {
  return listFiles(directory).filter((path) => {
    const [, algorithm, hex] = /^blobs\/(sha\d+)\/(.*)$/.exec(path) ?? [];
    if (algorithm === undefined) return false;
    return (
      createHash(algorithm)
        .update(readFileSync(join(directory, path)))
        .digest('hex') !== hex
    );
  });
}

export interface BlobServer {
  readonly url: string;
  /** The first byte asked for by each request. */
  readonly offsets: number[];
  /** How many bytes were handed to connections. */
  sentBytes: number;
  close(): Promise<void>;
}

/** Serves one blob with ranges; `pace` is called before each piece and may wait, or cut the connection. */
export async function serveBlob(
  blob: SampleBlob,
  pieceBytes = 64 << 10,
  pace: (at: number, response: ServerResponse) => Promise<void> | void = () => {},
): Promise<BlobServer> {
  const server: Server = createServer(async (request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    state.offsets.push(from);
    response.writeHead(206, { 'content-length': blob.sizeBytes - from });
    for (let at = from; at < blob.sizeBytes && !response.destroyed; at += pieceBytes) {
      await pace(at, response);
      if (response.destroyed) return;
      const piece = blob.bytes.subarray(at, at + pieceBytes);
      if (!response.write(piece)) await waitForRoom(response);
      state.sentBytes += piece.length;
    }
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const state: BlobServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    offsets: [],
    sentBytes: 0,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return state;
}

async function waitForRoom(response: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

export interface Driver {
  readonly child: ChildProcess;
  /** The lines on stdout so far. */
  readonly lines: string[];
  /** Resolves when a line that begins so was printed; rejects when the process ends before. */
  says(beginning: string): Promise<string>;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; errors: string }>;
}

const driver = join(import.meta.dirname, 'driver.ts');

const running = new Set<ChildProcess>();

/** Ends the drivers that a failed test left. */
export function stopDrivers(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** Starts driver.ts, by another program when `before` names one. */
export function startDriver(options: DriverOptions, before: readonly string[] = []): Driver {
  const [command = '', ...rest] = [...before, process.execPath, driver, JSON.stringify(options)];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  child.once('close', () => running.delete(child));
  const lines: string[] = [];
  const changed = new Set<() => void>();
  let text = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => {
    text += data.toString();
    lines.splice(0, lines.length, ...text.split('\n').slice(0, -1));
    for (const check of changed) check();
  });
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, errors }));
  return {
    child,
    lines,
    ended,
    says: (beginning) =>
      new Promise((resolve, reject) => {
        const check = () => {
          const line = lines.find((candidate) => candidate.startsWith(beginning));
          if (line === undefined) return;
          changed.delete(check);
          resolve(line);
        };
        changed.add(check);
        check();
        void ended.then(() => reject(new Error(`it ended without saying ${beginning}: ${lines.join(', ')} ${errors}`)));
      }),
  };
}
