// SPDX-License-Identifier: Apache-2.0
import { cpSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { filterKinds, type Op, type Plan } from '../../src/format/plan.ts';
import { testNeeding } from '../support/features.ts';
import { compileProgram } from '../support/programs.ts';
import { bindDev, bindProc, type Image, makeBusyboxImage, mount, planFor, runPlan, shPlan } from './plan-rig.ts';

const needing = testNeeding('root', 'userns', 'fuse', 'mksquashfs', 'busybox');
let image: Image;

beforeAll(() => {
  image = makeBusyboxImage((root) => cpSync(compileProgram('fake-root'), path.join(root, 'bin/fake-root')));
});

const fakeRoot: Op = { op: 'seccomp', kind: filterKinds.fakeRoot };
const inside = [bindProc, bindDev, mount({ source: 'tmpfs', target: '/tmp', type: 'tmpfs' })];

/** `WAY NAME` to result. */
async function tryCalls(after: Plan): Promise<Record<string, number>> {
  const shown = await shPlan(image, 'fake-root /tmp/file', { uid: 0, inside, after });
  const lines = shown.trim().split('\n');
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').pop())]));
}

describe('the filter fakeRoot', () => {
  needing(
    'lets every call that changes owners or users succeed, by each way into the kernel, without effect',
    async () => {
      const results = await tryCalls([{ op: 'noNewPrivs' }, fakeRoot]);
      const { 'left mknod-device': device, ...others } = results;
      expect(Object.keys(others).length).toBeGreaterThan(20);
      expect(Object.entries(others).filter(([, result]) => result !== 0)).toEqual([]);
      // A device is not made, and so is not said to be.
      expect(device).toBe(-1);
    },
  );

  needing('is what makes them succeed', async () => {
    const results = await tryCalls([{ op: 'noNewPrivs' }]);
    const failed = Object.entries(results).filter(([, result]) => result < 0);
    expect(failed.map(([name]) => name)).toEqual(
      expect.arrayContaining(['plain chown(file, OTHER, OTHER)', 'plain setuid(OTHER)', 'plain setgroups(1, groups)']),
    );
  });

  needing('holds for what the command starts, and needs no new privileges given up', async () => {
    const script =
      'touch /tmp/x; sh -c "chown 55:66 /tmp/x"; stat -c %u:%g /tmp/x; chroot / sh -c "chgrp 9 /tmp/x && echo ok"';
    expect(await shPlan(image, script, { uid: 0, inside, after: [fakeRoot] })).toBe('0:0\nok\n');
  });

  needing('of an unknown kind is refused', async () => {
    const ran = await runPlan(planFor(image, { after: [{ op: 'noNewPrivs' }, { op: 'seccomp', kind: 99 }] }));
    expect(ran).toMatchObject({ status: 125, stderr: 'bundler: install a seccomp filter: unknown kind 99\n' });
  });
});
