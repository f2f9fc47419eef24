// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as plan from '../../src/format/plan.ts';

const header = readFileSync(new URL('../../native/plan.h', import.meta.url), 'utf8');
const letters = { u32: 'w', u64: 'q', str: 's', bytes: 'b', strs: 'v' } as const;

/** `PREFIX_NAME = 1` of native/plan.h as { NAME: 1 }. */
function readConstants(prefix: string): Record<string, number> {
  const found = header.matchAll(new RegExp(`\\b${prefix}_([A-Z_]+) = (\\d+)`, 'g'));
  return Object.fromEntries([...found].map(([, name, value]) => [name, Number(value)]));
}

/** `createDir` as C writes it: CREATE_DIR. */
function upper(record: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => [name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase(), value]),
  );
}

describe('src/format/plan.ts and native/plan.h', () => {
  test('list the same operations with the same codes and fields', () => {
    const rows = [...header.matchAll(/X\((OP_[A-Z_]+), (\d+), "(\w+)", "([a-z]*)"\)/g)];
    const inC = rows.map(([, id, code, name, fields]) => ({ id, code: Number(code), name, fields }));
    const inTypeScript = Object.entries(plan.ops as plan.OpTable).map(([name, { code, fields }]) => ({
      id: `OP_${name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`,
      code,
      name,
      fields: fields.map(([, kind]) => letters[kind]).join(''),
    }));
    expect(inC.length).toBeGreaterThan(0);
    expect(inC).toEqual(inTypeScript);
  });

  test('agree on the version and on the number of fields that fit', () => {
    expect(header).toContain(`#define PLAN_VERSION ${plan.planVersion}\n`);
    const most = Math.max(...Object.values(plan.ops).map(({ fields }) => fields.length));
    expect(Number(/#define PLAN_MAX_FIELDS (\d+)/.exec(header)?.[1])).toBeGreaterThanOrEqual(most);
  });

  test.each([
    ['ENTRY', plan.entryKinds],
    ['UNSHARE', plan.unshareFlags],
    ['EXTRACT', plan.extractFlags],
    ['MOUNT', plan.mountOptions],
    ['CWD', plan.cwdFlags],
    ['SERVE', plan.serveFlags],
    ['FILTER', plan.filterKinds],
    ['SUPERVISE', plan.superviseFlags],
  ])('agree on the constants %s_*', (prefix, record) => {
    expect(readConstants(prefix)).toEqual(upper(record));
  });

  test('agree on the root drivers and flags', () => {
    expect(readConstants('ROOT')).toEqual({ ...upper(plan.rootDrivers), ...upper(plan.rootFlags) });
  });
});
