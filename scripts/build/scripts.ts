// SPDX-License-Identifier: Apache-2.0
import { renameSync } from 'node:fs';
import * as esbuild from 'esbuild';
import { buildDir, root } from './step.ts';

export interface Script {
  readonly path: string;
  /** Names of the npm packages whose code is inside. */
  readonly packages: readonly string[];
}

/** The notices are too long to be read at every start: they lie beside the loader, which is the program that was started. */
const noticesFromFile: esbuild.Plugin = {
  name: 'notices',
  setup(build) {
    build.onLoad({ filter: /licenses\/NOTICES\.txt$/ }, () => ({
      contents: `import { readFileSync } from 'node:fs';
        export default readFileSync(process.execPath.replace(/[^/]*$/, 'licenses'), 'utf8');`,
    }));
  },
};

/** What all scripts are bundled with: CommonJS for the pinned Node. */
export function scriptOptions(version: string) {
  return {
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'cjs',
    // Names and short lines stay, so that a stack trace can be read; without comments and indentation a third is gone.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 160,
    legalComments: 'none',
    charset: 'ascii',
    loader: { '.txt': 'text' },
    define: { BUNDLER_VERSION: JSON.stringify(version) },
    // import() needs a callback that a vm.Script has not: make it a require().
    supported: { 'dynamic-import': false },
    logLevel: 'error',
  } as const satisfies esbuild.BuildOptions;
}

/** Bundles an entry point and all that it imports into one file below build/. */
export async function bundleScript(
  entry: string,
  name: string,
  version: string,
  plugins: readonly esbuild.Plugin[] = [],
): Promise<Script> {
  const output = `${buildDir}${name}`;
  const { metafile } = await esbuild.build({
    ...scriptOptions(version),
    metafile: true,
    plugins: [noticesFromFile, ...plugins],
    entryPoints: [entry],
    outfile: `${output}.new`,
  });
  renameSync(`${output}.new`, output);
  const names = Object.keys(metafile.inputs).flatMap(
    (path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [],
  );
  return { path: output, packages: [...new Set(names)].sort() };
}
