// SPDX-License-Identifier: Apache-2.0
// A process that takes a lease again and again until a file is there, and sometimes dies with it: node lease-worker.ts DIRECTORY FILE.
// Whoever has the lease makes the file `owner`; it says "violation" when a living process has done so before.
import { existsSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startWatch, tryLease } from '../../src/cache/lease.ts';
import { identifyHost, isGone, nameWriter, parseWriter, type Writer } from '../../src/host.ts';

const [, , directory = '', stop = ''] = process.argv;
const host = identifyHost();
const self = nameWriter(host);
const owner = join(directory, 'owner');
const times = { heartbeatMs: 1000, staleMs: 60_000 };
const watch = startWatch();

function enter(): void {
  try {
    writeFileSync(owner, self, { flag: 'wx' });
  } catch {
    const other = readFileSync(owner, 'utf8');
    if (!isGone(parseWriter(other) as Writer, host)) process.stdout.write(`violation: ${self} beside ${other}\n`);
    writeFileSync(owner, self);
  }
}

while (!existsSync(stop)) {
  const lease = tryLease(directory, 'k', { host, times, watch });
  if (lease !== undefined) {
    enter();
    process.stdout.write('had\n');
    if (Math.random() < 0.5) await sleep(Math.random() * 3);
    if (Math.random() < 0.02) process.kill(process.pid, 'SIGKILL');
    unlinkSync(owner);
    lease.release();
  }
  if (Math.random() < 0.3) await sleep(Math.random() * 2);
}
