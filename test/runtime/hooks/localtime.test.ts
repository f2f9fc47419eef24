// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { pick, planOf } from '../launch-fixture.ts';

describe("the host's time zone", () => {
  const localtime = { link: '../usr/share/zoneinfo/Europe/Berlin', zone: 'TZif2...' };

  test('is a link and the zone', () => {
    const entries = pick(planOf({ host: { localtime } }), 'entry').filter(
      ({ data }) => data.includes('zone') || data.includes('TZif'),
    );
    expect(entries).toEqual([
      { op: 'entry', kind: 3, path: '/etc/localtime', mode: 0o777, data: localtime.link },
      { op: 'entry', kind: 2, path: '/usr/share/zoneinfo/Europe/Berlin', mode: 0o644, data: localtime.zone },
    ]);
  });

  test('is shown by a mount in a kept root', () => {
    const plan = planOf({ args: ['-k'], host: { localtime } });
    expect(pick(plan, 'inject')).toContainEqual({
      op: 'inject',
      path: '/etc/localtime',
      mode: 0o644,
      content: localtime.zone,
    });
  });
});
