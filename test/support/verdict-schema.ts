// SPDX-License-Identifier: Apache-2.0
import * as z from 'zod';

const check = z.strictObject({
  id: z.string().min(1),
  group: z.enum(['config', 'cmdline', 'sysctl', 'packages', 'tried']),
  name: z.string().min(1),
  ok: z.boolean(),
  need: z.string(),
  note: z.string(),
  cure: z.string(),
});

const place = z.strictObject({
  path: z.string().startsWith('/'),
  ok: z.boolean(),
  filesystem: z.string(),
  freeBytes: z.int().nonnegative(),
  note: z.string(),
  cure: z.string(),
});

const uses = z.strictObject({
  driver: z.enum(['fuse', 'extract', 'kernel']),
  place: z.string(),
  sandbox: z.enum(['userns', 'root', 'chroot', 'proot']),
  degraded: z.string(),
  runtime: z.strictObject({ from: z.enum(['warm', 'unpacked', 'mounted', 'memory']), dir: z.string() }),
  rw: z
    .strictObject({
      in: z.enum(['memory', 'disk', 'directory', 'copy']),
      place: z.string(),
      sizeBytes: z.int().nonnegative(),
    })
    .nullable(),
});

const devices = z.strictObject({
  asked: z.string(),
  wouldBe: z.boolean(),
  drivers: z.array(z.strictObject({ vendor: z.string().min(1), version: z.string(), cuda: z.string() })),
  gpus: z.array(
    z.strictObject({
      index: z.int().nonnegative(),
      vendor: z.string(),
      model: z.string(),
      uuid: z.string(),
      busId: z.string(),
      nodes: z.array(z.string()),
      shown: z.boolean(),
    }),
  ),
  libraryDir: z.string(),
  injected: z.array(z.strictObject({ kind: z.string(), source: z.string(), target: z.string() })),
  devices: z.array(z.string()),
  hidden: z.array(z.string()),
  files: z.array(z.string()),
  links: z.array(z.strictObject({ path: z.string(), target: z.string() })),
  env: z.array(z.string()),
  missing: z.array(z.strictObject({ what: z.string(), follows: z.string() })),
  warnings: z.array(z.string()),
  problem: z.string(),
  cure: z.string(),
});

/** What `--verify --json` and `bundler doctor --json` print: docs/verify.md. */
export const verdictSchema = z.strictObject({
  schema: z.literal(1),
  ok: z.boolean(),
  file: z.string().startsWith('/'),
  name: z.string().nullable(),
  kernel: z.strictObject({
    release: z.string(),
    machine: z.string(),
    version: z.string(),
    config: z.string().nullable(),
  }),
  checks: z.array(check).min(8),
  places: z.array(place),
  needBytes: z.int().nonnegative(),
  devices: devices.nullable(),
  uses: uses.nullable(),
  result: z.string(),
  cure: z.string(),
});

/** Every field, as docs/verify.md names it: `uses.rw.in`, `checks[].id`. */
export function listFields(schema: z.core.$ZodType = verdictSchema, prefix = ''): string[] {
  if (schema instanceof z.ZodNullable) return listFields(schema.unwrap(), prefix);
  if (schema instanceof z.ZodArray) return [prefix, ...listFields(schema.element, `${prefix}[]`)].slice(1);
  if (!(schema instanceof z.ZodObject)) return [prefix];
  return Object.entries(schema.shape).flatMap(([key, inner]) =>
    listFields(inner as z.core.$ZodType, prefix === '' ? key : `${prefix}.${key}`),
  );
}
