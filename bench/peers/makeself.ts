// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { giveToUser } from '../setting.ts';
import { type Peer, withCommands } from './peer.ts';

/** A self-extracting archive of the same tree: unpacks into a temporary directory at every start. On tmpfs, its best case. */
export const makeselfPeer: Peer = (setting) =>
  withCommands('makeself (zstd)', ['makeself', 'zstd', 'unshare'], () => {
    const tree = path.join(setting.work, 'makeself');
    mkdirSync(tree);
    writeFileSync(
      path.join(tree, 'start'),
      '#!/bin/sh\nexec unshare --user --map-root-user --mount --root=root "$@"\n',
      { mode: 0o755 },
    );
    execFileSync('cp', ['-al', setting.root, path.join(tree, 'root')]);
    const file = path.join(setting.work, 'makeself.run');
    execFileSync(
      'makeself',
      ['--zstd', '--complevel', '3', '--nox11', '--nomd5', '--nocrc', '--noprogress', tree, file, 'np', './start'],
      { stdio: ['ignore', 'ignore', 'pipe'], maxBuffer: 1 << 28 },
    );
    const temporary = path.join(existsSync('/dev/shm') ? '/dev/shm' : setting.work, `bundler-bench-${process.pid}`);
    mkdirSync(temporary);
    giveToUser(temporary);
    return [
      {
        name: 'makeself (zstd), tmpfs',
        argv: [file, '--quiet', '--', '/bin/true'],
        env: { TMPDIR: temporary },
        tearDown: () => void execFileSync('rm', ['-rf', temporary]),
      },
    ];
  });
