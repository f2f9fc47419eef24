// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const entryPoints = ['src/main.ts', 'runtime/main.ts'];

const sources = ['src', 'runtime'].flatMap((dir) =>
  readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const path = join(dir, name);
      const text = readFileSync(join(root, path), 'utf8');
      return { path, text, code: withoutComments(text), imports: findImports(path, text) };
    }),
);

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
}

/** What a file imports, statically or not: `node:fs`, a package's name, or a path from the repository's root. */
function findImports(path: string, text: string): string[] {
  const pattern = /(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)'([^'\n]+)'/g;
  return [...text.matchAll(pattern)]
    .map(([, target]) => target as string)
    .map((target) => (target.startsWith('.') ? relative(root, resolve(root, dirname(path), target)) : target));
}

const inside = (dir: string) => sources.filter(({ path }) => path.startsWith(`${dir}/`));

/** Lines "FILE: WHAT" for every file where find gives something. */
function violations(files: typeof sources, find: (source: (typeof sources)[number]) => string[]): string[] {
  return files.flatMap((source) => find(source).map((what) => `${source.path}: ${what}`));
}

describe('import rules (docs/architecture.md)', () => {
  test('the sources are found', () => {
    expect(sources.length).toBeGreaterThan(20);
    expect(sources.find(({ path }) => path === 'src/cli.ts')?.imports).toContain('src/commands/make.ts');
    for (const path of entryPoints) expect(sources.map((source) => source.path)).toContain(path);
  });

  test('runtime/ imports only itself, src/format/, notices as text and node:; one file a YAML parser', () => {
    const allowed = /^(node:|runtime\/|src\/format\/|licenses\/[^/]+\.txt$)/;
    const isParser = (path: string, target: string) => path === 'runtime/gpu/cdi-spec.ts' && target === 'js-yaml';
    expect(
      violations(inside('runtime'), ({ path, imports }) =>
        imports.filter((target) => !allowed.test(target) && !isParser(path, target)),
      ),
    ).toEqual([]);
  });

  test('src/format/ imports only itself and node:', () => {
    const allowed = /^(node:|src\/format\/)/;
    expect(
      violations(inside('src/format'), ({ imports }) => imports.filter((target) => !allowed.test(target))),
    ).toEqual([]);
  });

  test('the builder imports nothing of runtime/', () => {
    expect(
      violations(inside('src'), ({ imports }) => imports.filter((target) => target.startsWith('runtime/'))),
    ).toEqual([]);
  });

  test('commands do not import each other, and only the command line imports commands', () => {
    const others = sources.filter(({ path }) => path !== 'src/cli.ts');
    expect(violations(others, ({ imports }) => imports.filter((target) => target.startsWith('src/commands/')))).toEqual(
      [],
    );
  });

  test('built-in modules are imported with node:', () => {
    const bare = /^(fs|path|os|child_process|crypto|zlib|stream|util|url|timers|process)(\/|$)/;
    expect(violations(sources, ({ imports }) => imports.filter((target) => bare.test(target)))).toEqual([]);
  });
});

describe('who may do what', () => {
  test('only the entry points exit', () => {
    const others = sources.filter(({ path }) => !entryPoints.includes(path));
    expect(violations(others, ({ code }) => code.match(/process\.(exit|abort|reallyExit)\s*\(/g) ?? [])).toEqual([]);
  });

  test('in the builder only src/ui/ prints', () => {
    const others = inside('src').filter(({ path }) => !path.startsWith('src/ui/'));
    const printing = /\bconsole\.|process\.(stdout|stderr)\.write|writeSync\([12],/g;
    expect(violations(others, ({ code }) => code.match(printing) ?? [])).toEqual([]);
  });

  test('the planner has no console', () => {
    expect(violations(inside('runtime'), ({ code }) => code.match(/\bconsole\./g) ?? [])).toEqual([]);
  });

  test('no host library is loaded into the planner: it asks no name service and starts nothing', () => {
    const forbidden =
      /\bos\.userInfo|\buserInfo\(|node:child_process|node:dns|process\.(dlopen|setuid|initgroups|setgroups)/g;
    expect(violations(inside('runtime'), ({ code }) => code.match(forbidden) ?? [])).toEqual([]);
  });

  test('every source file names its licence first', () => {
    const unnamed = sources.filter(({ text }) => !text.startsWith('// SPDX-License-Identifier: Apache-2.0\n'));
    expect(unnamed.map(({ path }) => path)).toEqual([]);
  });
});
