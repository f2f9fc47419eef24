// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { makeImage } from '../../fixtures/make.ts';
import { giveToUser, strangerUid } from '../setting.ts';
import type { Peer } from './peer.ts';

/** This project: later starts, the first start ever, and a small image beside the big one. */
export const bundlePeer: Peer = (setting) => {
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: setting.home,
    BUNDLER_CACHE_DIR: path.join(setting.work, 'cache-make'),
  };
  const make = (name: string, image: string): string => {
    const file = path.join(setting.work, name);
    execFileSync(setting.bundler, ['make', '-q', '-o', file, image], { env });
    return file;
  };
  const file = make('np.run', setting.image);
  const small = make('small.run', makeImage('busybox'));
  const freshHome = path.join(setting.work, 'fresh');
  const memory = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : setting.work, 'bundler-bench-cache-'));
  giveToUser(memory);
  const strangerHome = path.join(setting.work, 'stranger');
  mkdirSync(strangerHome, { mode: 0o700 });
  giveToUser(strangerHome, strangerUid);
  return [
    { name: 'bundle', argv: [file, 'true'] },
    { name: 'bundle, 1 MiB image', argv: [small, 'true'] },
    {
      name: 'bundle, user not in /etc/passwd',
      argv: [file, 'true'],
      uid: strangerUid,
      env: { HOME: strangerHome },
    },
    {
      name: 'bundle, BUNDLER_DRIVER=extract, tmpfs',
      argv: [file, 'true'],
      env: { BUNDLER_DRIVER: 'extract', BUNDLER_CACHE_DIR: memory },
      tearDown: () => rmSync(memory, { recursive: true, force: true }),
    },
    {
      name: 'bundle, first start ever',
      argv: [file, 'true'],
      env: { HOME: freshHome },
      before: () => {
        rmSync(freshHome, { recursive: true, force: true });
        mkdirSync(freshHome, { mode: 0o700 });
        giveToUser(freshHome);
      },
    },
  ];
};
