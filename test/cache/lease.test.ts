// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Lease, listGenerations, startWatch, tryLease } from '../../src/cache/lease.ts';
import { type Host, identifyHost, isGone, nameWriter, parseWriter, type Writer } from '../../src/host.ts';
import { listFiles, makeScratch } from './rig.ts';

const key = `sha256-${'0'.repeat(64)}`;
const here = identifyHost();
const elsewhere: Host = { name: 'elsewhere', key: 'e'.repeat(16) };
let scratch: ReturnType<typeof makeScratch>;
let dir = '';
const leases: Lease[] = [];
beforeEach(() => {
  scratch = makeScratch();
  dir = join(scratch.path, 'leases');
  mkdirSync(dir);
});
afterEach(() => {
  for (const lease of leases.splice(0)) lease.release();
  scratch.remove();
  vi.restoreAllMocks();
});

function take(host = here, watch = startWatch(), times = { heartbeatMs: 60_000, staleMs: 15_000 }): Lease | undefined {
  const lease = tryLease(dir, key, { host, times, watch });
  if (lease !== undefined) leases.push(lease);
  return lease;
}

/** A lease as somebody else's process wrote it. */
function plant(generation: number, writer: string, beat = 0): void {
  writeFileSync(
    join(dir, `${key}.${generation}`),
    `host x\nwriter ${writer}\nbeat ${String(beat).padStart(10, '0')}\n`,
  );
}

/** Has the waiter's clock show a time. */
function setClock(ms: number): void {
  vi.spyOn(performance, 'now').mockReturnValue(ms);
}

/** Looks twice a second until the lease is had; gives the seconds that it took. */
function waitByClock(host: Host, change: (second: number) => void = () => {}, maxSeconds = 60): number | undefined {
  const watch = startWatch();
  for (let half = 0; half <= maxSeconds * 2; half++) {
    setClock(1_000_000 + half * 500);
    if (half % 2 === 0) change(half / 2);
    if (take(host, watch) !== undefined) return half / 2;
  }
  return undefined;
}

describe('one owner', () => {
  test('a second one gets none until it is released', () => {
    const first = take();
    expect(first).toBeDefined();
    expect(take()).toBeUndefined();
    expect(take(elsewhere)).toBeUndefined();
    first?.release();
    first?.release();
    expect(listFiles(dir)).toEqual([]);
    expect(take(elsewhere)).toBeDefined();
  });

  test('an owner on this host that is gone is followed at once, one elsewhere after 15 s without a change', () => {
    const dead = spawnSync('true').pid;
    plant(1, `${here.key}-${dead}-1-${'0'.repeat(16)}`);
    expect(take()).toBeDefined();
    expect(listGenerations(dir, key)).toEqual([2]);
    rmSync(join(dir, `${key}.2`));
    plant(1, nameWriter(elsewhere));
    expect(waitByClock(here)).toBe(15);
    expect(listGenerations(dir, key)).toEqual([2]);
  });

  test('a living owner elsewhere is waited for as long as it lives', () => {
    const writer = nameWriter(elsewhere);
    const heartbeat = (second: number) => {
      if (second % 4 === 0 && second <= 40) plant(3, writer, second);
    };
    expect(waitByClock(here, heartbeat, 80)).toBe(55);
  });

  test('a lease that says nothing (its owner died while it wrote it) is stale after the same time', () => {
    writeFileSync(join(dir, `${key}.1`), '');
    expect(waitByClock(here)).toBe(15);
  });

  test('a waiter that was suspended does not take its sleep for the silence of the owner', () => {
    plant(1, nameWriter(elsewhere));
    const watch = startWatch();
    setClock(1000);
    expect(take(here, watch)).toBeUndefined();
    setClock(1000 + 3_600_000);
    expect(take(here, watch)).toBeUndefined();
    expect(watch.unchangedMs).toBeLessThanOrEqual(1000);
  });
});

describe('what happens between a look and the lease made after it', () => {
  test('the dead owner turns out to live, releases, and another process begins anew', () => {
    plant(5, nameWriter(elsewhere));
    const between = () => {
      rmSync(join(dir, `${key}.5`));
      plant(1, nameWriter(elsewhere));
    };
    expect(take(here, staleAfter(between))).toBeUndefined();
    expect(listGenerations(dir, key)).toEqual([1]);
  });

  test('another process takes over, and a third one takes over from that', () => {
    plant(5, nameWriter(elsewhere));
    const between = () => {
      rmSync(join(dir, `${key}.5`));
      plant(7, nameWriter(elsewhere));
    };
    expect(take(here, staleAfter(between))).toBeUndefined();
    expect(listGenerations(dir, key)).toEqual([7]);
  });

  test('there was none, and two others came and went over it', () => {
    const host = {
      name: here.name,
      get key() {
        plant(2, nameWriter(elsewhere));
        return here.key;
      },
    };
    expect(take(host)).toBeUndefined();
    expect(listGenerations(dir, key)).toEqual([2]);
  });

  test('ours is swept away as a left-over, and another process makes one of the same number', () => {
    const host = {
      key: here.key,
      get name() {
        rmSync(join(dir, `${key}.1`));
        plant(1, nameWriter(elsewhere));
        return here.name;
      },
    };
    expect(take(host)).toBeUndefined();
    expect(readFileSync(join(dir, `${key}.1`), 'utf8')).toContain(elsewhere.key);
  });

  /** A watch that finds the lease stale, after something else has happened. */
  function staleAfter(between: () => void): ReturnType<typeof startWatch> {
    return {
      seen: '',
      lookedAtMs: 0,
      get unchangedMs() {
        between();
        return 15_000;
      },
      set unchangedMs(_) {},
    };
  }
});

describe('a heartbeat', () => {
  const fast = { heartbeatMs: 10, staleMs: 15_000 };

  test('changes the lease in place', async () => {
    take(here, startWatch(), fast);
    const path = join(dir, `${key}.1`);
    const text = readFileSync(path, 'utf8');
    await vi.waitFor(() => expect(readFileSync(path, 'utf8')).not.toBe(text));
    expect(readFileSync(path, 'utf8')).toHaveLength(text.length);
    expect(readFileSync(path, 'utf8').split('\n').slice(0, 2)).toEqual(text.split('\n').slice(0, 2));
  });

  test.each<[string, () => void]>([
    ['a successor', () => plant(2, nameWriter(elsewhere))],
    ['that the lease was removed', () => rmSync(join(dir, `${key}.1`))],
    ['a lease of somebody else in its place', () => plant(1, nameWriter(elsewhere))],
  ])('finds %s, and a release leaves that alone', async (_, change) => {
    const lease = take(here, startWatch(), fast) as Lease;
    expect(lease.lost.aborted).toBe(false);
    change();
    await vi.waitFor(() => expect(lease.lost.aborted).toBe(true));
    const foreign = listFiles(dir).filter(isForeign);
    lease.release();
    expect(listFiles(dir)).toEqual(foreign);
  });

  function isForeign(name: string): boolean {
    return readFileSync(join(dir, name), 'utf8').includes(elsewhere.key);
  }
});

describe('who is gone', () => {
  const self = () => parseWriter(nameWriter(here)) as Writer;

  test('this process is not, nor anybody of another host', () => {
    expect(isGone(self(), here)).toBe(false);
    expect(isGone({ ...self(), pid: spawnSync('true').pid }, elsewhere)).toBe(false);
  });

  test('a process whose number another one has now is', () => {
    expect(isGone({ ...self(), start: '1' }, here)).toBe(true);
  });

  test('one that nobody waited for yet is, one that is suspended is not', async () => {
    // The shell never waits for its child.
    const shell = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = (await once(shell.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    const writer = { hostKey: here.key, pid, start: readStart(pid) };
    expect(isGone(writer, here)).toBe(false);
    process.kill(pid, 'SIGSTOP');
    await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'latin1')).toMatch(/\) T /));
    expect(isGone(writer, here)).toBe(false);
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'latin1')).toMatch(/\) Z /));
    expect(isGone(writer, here)).toBe(true);
    shell.kill('SIGKILL');
  });

  function readStart(pid: number): string {
    return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19] ?? '';
  }
});

test('never two owners, though many processes take the lease and some die with it', { timeout: 180_000 }, async () => {
  const worker = join(import.meta.dirname, 'lease-worker.ts');
  const stop = join(dir, 'stop');
  let said: string[] = [];
  async function keepOneRunning(): Promise<void> {
    while (!existsSync(stop)) {
      const child = spawn(process.execPath, [worker, dir, stop], { stdio: ['ignore', 'pipe', 'inherit'] });
      child.stdout.on('data', (data: Buffer) => {
        said = [...said, ...data.toString().trim().split('\n')];
        if (said.length >= 1000) writeFileSync(stop, '');
      });
      await once(child, 'close');
    }
  }
  await Promise.all(Array.from({ length: 6 }, keepOneRunning));
  expect(said.filter((line) => line !== 'had')).toEqual([]);
});
