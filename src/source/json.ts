// SPDX-License-Identifier: Apache-2.0
import * as z from 'zod/mini';
import { Failure } from '../failure.ts';

/** Reads JSON in UTF-8 and checks it. Throws Failure: WHAT, and the first thing that is wrong. */
export function parseJson<T extends z.ZodMiniType>(bytes: Buffer, schema: T, what: string): z.infer<T> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Failure(`${what} is not JSON`, { cause: error });
  }
  const result = z.safeParse(schema, value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const place = issue?.path.map(String).join('.') ?? '';
  throw new Failure(
    `${what} is not well-formed: ${place === '' ? '' : `${place}: `}${issue?.message ?? 'unexpected content'}`,
  );
}

/** An optional value that many writers give as null: absent in either case. */
export function optional<T extends z.ZodMiniType, D>(schema: T, absent: D) {
  return z.pipe(
    z.nullish(schema),
    z.transform((value): NonNullable<z.infer<T>> | D => (value ?? absent) as NonNullable<z.infer<T>> | D),
  );
}
