// SPDX-License-Identifier: Apache-2.0
// The build, started by build.mjs: dist/bundler, and with --sanitize dist/bundler-asan too. Steps whose inputs did not change are skipped.
import { readFileSync } from 'node:fs';
import { buildLauncher, release, sanitized } from './launcher.ts';
import { buildRuntimeProgram, trimNode } from './node.ts';
import { writeNotices } from './notices.ts';
import { bundlePlanner } from './planner-scripts.ts';
import { buildRuntimeImage, buildToolSection } from './runtime.ts';
import { bundleScript } from './scripts.ts';
import { root, runStep } from './step.ts';
import { writeToolFile } from './tool-file.ts';

async function build(variants: readonly (typeof release)[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string };
  const node = trimNode();
  const { planner, devices } = await bundlePlanner(version);
  const tool = await bundleScript('src/main.ts', 'tool.cjs', version);
  const notices = writeNotices([...new Set([planner, devices, tool].flatMap(({ packages }) => packages))].sort());
  const runtime = buildRuntimeImage(buildRuntimeProgram(node), node, [planner.path, devices.path], notices);
  const section = buildToolSection(node, tool.path);
  for (const variant of variants) {
    const launcher = await buildLauncher(variant, version);
    const name = variant.name.replace('launcher', 'bundler');
    const files = [
      launcher,
      runtime.image,
      section,
      `${root}src/format/sections.ts`,
      `${root}scripts/build/tool-file.ts`,
    ];
    const output = `${root}dist/${name}`;
    runStep({ name: `dist/${name}`, files, values: [version], outputs: [output] }, () => {
      writeToolFile({ launcher, runtime, tool: section }, name, version);
    });
  }
}

try {
  const wanted = process.argv.slice(2);
  const unknown = wanted.find((argument) => argument !== '--sanitize');
  if (unknown) throw new Error(`unknown option ${unknown}; usage: npm run build [-- --sanitize]`);
  await build(wanted.length > 0 ? [release, sanitized] : [release]);
} catch (error) {
  console.error(`build: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
