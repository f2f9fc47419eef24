// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../../src/format/bytes.ts';
import type { DeviceReport } from './report.ts';

/** As text, a line each. wide: every single file. */
export function writeReport(report: DeviceReport, wide: boolean): Bytes[] {
  const lines: Bytes[] = report.drivers.map(({ vendor, version, cuda }) => {
    const parts = [version === '' ? '' : `driver ${version}`, cuda === '' ? '' : `CUDA ${cuda}`].filter(
      (part) => part !== '',
    );
    return [vendor, ...parts].join(', ').replace(', driver', ' driver');
  });
  for (const { index, vendor, model, uuid, busId, nodes, shown } of report.gpus) {
    const names = [`${vendor} GPU ${index}`, model, uuid, busId, nodes[0] ?? ''].filter((part) => part !== '');
    lines.push(`${names.join(', ')}${shown ? '' : ' (not in the container)'}`);
  }
  lines.push(report.wouldBe ? 'asked for: nothing; --gpus all would give:' : `asked for: ${report.asked}`);
  if (report.problem !== '')
    return [...lines, `KO: ${report.problem}`, ...(report.cure === '' ? [] : [`  try: ${report.cure}`])];
  lines.push(...(wide ? listAll(report) : summarize(report)));
  for (const { what, follows } of report.missing) lines.push(`missing: ${what} (optional): ${follows}`);
  for (const text of report.warnings) lines.push(`warning: ${text}`);
  return lines;
}

function summarize({ injected, libraryDir, devices, hidden }: DeviceReport): Bytes[] {
  const libraries = injected.filter(({ target }) => target.startsWith(`${libraryDir}/`) && libraryDir !== '').length;
  const programs = injected.filter(({ kind }) => kind === 'program').map(({ target }) => target.replace(/^.*\//, ''));
  return [
    ...(libraries > 0 ? [`libraries: ${libraries} in ${libraryDir}`] : []),
    ...(programs.length > 0 ? [`programs: ${programs.join(' ')}`] : []),
    ...(devices.length > 0 ? [`devices: ${devices.join(' ')}`] : []),
    ...(hidden.length > 0 ? [`hidden: ${hidden.join(' ')}`] : []),
  ];
}

function listAll({ injected, devices, hidden, files, links, env }: DeviceReport): Bytes[] {
  return [
    ...injected.map(
      ({ kind, source, target }) => `${kind.padEnd(8)} ${target}${source === target ? '' : `  <- ${source}`}`,
    ),
    ...links.map(({ path, target }) => `link     ${path} -> ${target}`),
    ...files.map((path) => `file     ${path}`),
    ...devices.map((path) => `device   ${path}`),
    ...hidden.map((path) => `hidden   ${path}`),
    ...env.map((item) => `env      ${item}`),
  ];
}
