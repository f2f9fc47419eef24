// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { Subject } from '../measure.ts';
import { giveToUser } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** `make` beside a copy and one hash of the same file, on a disk and on tmpfs. */
export const makePeer: Peer = (setting) =>
  withCommands('cp + openssl dgst', ['openssl', 'cp'], () => {
    const places: [string, string][] = [['disk', setting.work]];
    if (existsSync('/dev/shm')) places.push(['tmpfs', '/dev/shm']);
    return places.flatMap(([what, parent]): Subject[] => {
      const dir = mkdtempSync(path.join(parent, 'bundler-make-'));
      giveToUser(dir);
      const copy = path.join(dir, 'copy');
      const made = path.join(dir, 'made.run');
      return [
        {
          name: `cp + openssl dgst, ${what}`,
          argv: ['sh', '-c', 'cp "$0" "$1" && openssl dgst -sha256 "$1"', setting.image, copy],
          before: () => rmSync(copy, { force: true }),
        },
        {
          name: `bundler make, ${what}`,
          argv: [setting.bundler, 'make', '-q', '-o', made, setting.image],
          before: () => rmSync(made, { force: true }),
          tearDown: () => rmSync(dir, { recursive: true, force: true }),
        },
      ];
    });
  });
