// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Failure } from '../../runtime/failure.ts';
import { checkRequirements, type RequirementFacts } from '../../runtime/gpu/nvidia-require.ts';
import { fromBuffer } from '../../src/format/bytes.ts';

/** A requirement as a tree, what it says in words of its own, and a value for how far it holds: 0, 1/2 (not known) or 1. */
interface Atom {
  readonly text: string;
  readonly holds: (facts: RequirementFacts, gpu: RequirementFacts['gpus'][number] | null) => number;
}

const numbers = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 3 });
const version = numbers.map((list) => list.join('.'));
const digits = (text: string) => [0, 1, 2, 3].reduce((sum, at) => sum * 10 + Number(text.split('.')[at] ?? 0), 0);
const brands = ['tesla', 'geforce', 'quadro'];
const tests: Record<string, (difference: number) => boolean> = {
  '=': (d) => d === 0,
  '!=': (d) => d !== 0,
  '<': (d) => d < 0,
  '<=': (d) => d <= 0,
  '>': (d) => d > 0,
  '>=': (d) => d >= 0,
};
const atom: fc.Arbitrary<Atom> = fc.oneof(
  fc.tuple(fc.constantFrom('cuda', 'driver', 'arch', 'Cuda'), fc.constantFrom(...Object.keys(tests)), version).map(
    ([name, operator, wanted]): Atom => ({
      text: `${name}${operator}${wanted}`,
      holds: (facts, gpu) => {
        if (name === 'arch' && gpu === null) return 1;
        const actual = name === 'arch' ? gpu?.arch : name === 'driver' ? facts.driver : facts.cuda;
        if (actual === null || actual === undefined) return 0.5;
        return tests[operator]?.(digits(actual) - digits(wanted)) ? 1 : 0;
      },
    }),
  ),
  fc.tuple(fc.boolean(), fc.constantFrom(...brands)).map(
    ([isSame, wanted]): Atom => ({
      text: `brand${isSame ? '=' : '!='}${wanted}`,
      holds: (_facts, gpu) => {
        if (gpu === null) return 1;
        return gpu.brand === null ? 0.5 : Number((gpu.brand.toLowerCase() === wanted) === isSame);
      },
    }),
  ),
);
const tree = fc.array(fc.array(atom, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 });
const anyFacts: fc.Arbitrary<RequirementFacts> = fc.record({
  cuda: fc.option(version),
  driver: fc.option(version),
  gpus: fc.array(
    fc.record({ arch: fc.option(version), brand: fc.option(fc.constantFrom('Tesla', 'GeForce', 'QUADRO')) }),
    {
      maxLength: 3,
    },
  ),
});

test('any requirement is printed, read and decided as a plain model of it does', () => {
  fc.assert(
    fc.property(
      fc.array(tree, { maxLength: 3 }),
      anyFacts,
      fc.constantFrom(' ', '  ', '\t'),
      fc.constantFrom(',', ',,'),
      (trees, facts, space, comma) => {
        const print = (one: Atom[][]) => one.map((all) => all.map(({ text }) => text).join(comma)).join(space);
        const variables = new Map(trees.map((one, position) => [`NVIDIA_REQUIRE_${position}`, print(one)]));
        const each = facts.gpus.length === 0 ? [null] : facts.gpus;
        const levels = trees.map((one) => {
          const perGpu = each.map((gpu) =>
            Math.max(...one.map((all) => Math.min(...all.map(({ holds }) => holds(facts, gpu))))),
          );
          return Math.min(1, ...perGpu);
        });
        const verdict = checkRequirements(variables, facts);
        expect(verdict.ok).toBe(levels.every((level) => level > 0));
        expect(verdict.unknown).toBe(levels.every((level) => level > 0) && levels.includes(0.5));
        expect(verdict.failed.map((one) => one.variable)).toEqual(
          levels.flatMap((level, position) => (level === 0 ? [`NVIDIA_REQUIRE_${position}`] : [])),
        );
        expect(verdict.skipped).toEqual([]);
      },
    ),
    { numRuns: 500 },
  );
});

test('any text is decided or refused, and nothing else happens', () => {
  const text = fc.oneof(
    fc.uint8Array({ maxLength: 30 }).map(fromBuffer),
    fc.stringMatching(/^[cudabrn><=!., 0-9]{0,20}$/),
  );
  fc.assert(
    fc.property(text, (value) => {
      try {
        checkRequirements(new Map([['NVIDIA_REQUIRE_CUDA', value]]), {
          cuda: '12.2',
          driver: '535.1',
          gpus: [{ arch: '7.0', brand: 'Tesla' }],
        });
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
      }
    }),
  );
});
