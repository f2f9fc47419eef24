// SPDX-License-Identifier: Apache-2.0
// `npm run bench [-- ROUNDS [starts|makes|imports]]`: measures starts and `make` against the peers that this machine has, interleaved, with medians.
// Prints tables and writes bench/results/TIME.json. npm puts the pinned Node first in PATH.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import path from 'node:path';
import { type Absent, measureRounds, type Setting, type Subject } from './measure.ts';
import { bundlePeer } from './peers/bundle.ts';
import { bwrapPeer } from './peers/bwrap.ts';
import { charliecloudPeer } from './peers/charliecloud.ts';
import { enrootPeer } from './peers/enroot.ts';
import { floorPeer } from './peers/floor.ts';
import { gpuPeer } from './peers/gpu.ts';
import { importPeer } from './peers/import.ts';
import { makePeer } from './peers/make.ts';
import { makeselfPeer } from './peers/makeself.ts';
import { nodePeer } from './peers/node.ts';
import type { Peer } from './peers/peer.ts';
import { podmanPeer } from './peers/podman.ts';
import { formatTable, formatVerdicts, judge } from './report.ts';
import { makeSetting } from './setting.ts';

const repository = path.resolve(import.meta.dirname, '..');
const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kbench: ${text}`);
};

/** Subjects of all peers; those that cannot be had are kept as rows that say so. */
function setUp(peers: readonly Peer[], setting: Setting): (Subject | Absent)[] {
  return peers.flatMap((peer) => peer(setting, repository));
}

function tearDown(setting: Setting, subjects: readonly (Subject | Absent)[]): void {
  for (const subject of subjects) {
    try {
      if ('argv' in subject) subject.tearDown?.();
    } catch (error) {
      say(String(error));
    }
  }
  rmSync(setting.work, { recursive: true, force: true });
}

function measureAll(
  subjects: readonly (Subject | Absent)[],
  rounds: number,
  setting: Setting,
): ReturnType<typeof measureRounds> {
  const present = subjects.filter((subject): subject is Subject => 'argv' in subject);
  const rows = measureRounds(repository, present, rounds, setting, progress);
  progress('');
  return subjects.map((subject) => rows.find(({ name }) => name === subject.name) ?? (subject as Absent));
}

function main(): void {
  const rounds = Number(process.argv[2] ?? process.env['BENCH_ROUNDS'] ?? 15);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`rounds must be a whole number from 1: ${process.argv[2]}`);
  const only = process.argv[3];
  const groups = {
    starts: [
      floorPeer,
      bundlePeer,
      gpuPeer,
      nodePeer,
      charliecloudPeer,
      bwrapPeer,
      podmanPeer,
      makeselfPeer,
      enrootPeer,
    ],
    makes: [makePeer],
    imports: [importPeer],
  };
  if (only !== undefined && !(only in groups))
    throw new Error(`no such group: ${only}; there are ${Object.keys(groups).join(', ')}`);
  const wanted = (group: keyof typeof groups): Peer[] => (only === undefined || only === group ? groups[group] : []);
  say('setting up');
  const setting = makeSetting(repository, say);
  let subjects: (Subject | Absent)[] = [];
  let making: (Subject | Absent)[] = [];
  let importing: (Subject | Absent)[] = [];
  try {
    subjects = setUp(wanted('starts'), setting);
    making = setUp(wanted('makes'), setting);
    importing = setUp(wanted('imports'), setting);
    // An import takes a hundred times as long as a start.
    const importRounds = Math.ceil(rounds / 3);
    say(
      `${rounds} rounds of ${subjects.length} starts of true, then of ${making.length} ways of making one file, and ${importRounds} of ${importing.length} imports`,
    );
    const starts = measureAll(subjects, rounds, setting);
    const makes = measureAll(making, rounds, setting);
    const imports = measureAll(importing, importRounds, setting);
    const verdicts = judge([...starts, ...makes, ...imports]).filter(
      ({ ratio }) => only === undefined || ratio !== null,
    );
    const about = {
      time: new Date().toISOString(),
      kernel: release(),
      cpu: cpus()[0]?.model ?? '',
      cpus: cpus().length,
      image: setting.imageName,
      rounds,
      commit: execFileSync('git', ['-C', repository, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(),
    };
    process.stdout.write(
      `${about.cpus} x ${about.cpu}, kernel ${about.kernel}, ${about.image} image, medians of ${rounds} interleaved rounds\n\n`,
    );
    const tables = [
      formatTable('start of true', starts, 'bundle'),
      formatTable('one file of an image', makes, 'cp + openssl dgst, disk'),
      formatTable('image from a registry', imports, 'bundler import'),
      formatVerdicts(verdicts),
    ];
    process.stdout.write(`${tables.filter((table) => table !== '').join('\n\n')}\n`);
    const results = path.join(repository, 'bench/results');
    mkdirSync(results, { recursive: true });
    const file = path.join(results, `${about.time.replaceAll(':', '-')}.json`);
    writeFileSync(file, `${JSON.stringify({ about, starts, makes, imports, verdicts }, null, 2)}\n`);
    say(`written: ${path.relative(process.cwd(), file)}`);
  } finally {
    tearDown(setting, [...subjects, ...making, ...importing]);
  }
}

main();
