// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { makeBundle } from '../support/bundle.ts';
import { e2e } from '../support/features.ts';
import { repository } from '../support/programs.ts';
import { runBare } from '../support/run.ts';
import { sessionDir } from '../support/session.ts';

describe('the example', () => {
  // The Debian image is what `npm run demo` and the bench are about; this is the one for where no mirror can be reached.
  e2e("falls back to an image of the machine's busybox, whose default command works", async () => {
    const image = path.join(sessionDir(), 'fallback.sqsh') as `/${string}`;
    execFileSync(path.join(repository, 'examples/np-norm-openblas/busybox-image'), [image], { stdio: 'pipe' });
    const ran = await runBare([makeBundle(image), '--env', 'OMP_NUM_THREADS=3']);
    expect(ran).toMatchObject({ status: 0, stdout: 'threads 3\nnorm    1.825756e+07\n', stderr: '' });
  });
});
