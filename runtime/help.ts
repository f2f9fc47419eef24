// SPDX-License-Identifier: Apache-2.0
import { type OptionRow, optionRows } from './options.ts';

export function usageLine(program: string): string {
  return `Usage: ${program} [options] [--] [COMMAND] [ARG...]`;
}

/** The text of --help; description '' when the bundle has none. */
export function writeHelp(program: string, description: string): string {
  const width = Math.max(...optionRows.map((row) => spell(row).length)) + 2;
  const lines = optionRows.map((row) => `${row.group ? '\n' : ''}   ${spell(row).padEnd(width)}${row.text}`);
  const about = description === '' ? '' : `\n${description}\n`;
  return `${usageLine(program)}\n${about}\n Options:\n${lines.join('\n')}\n`;
}

/** How an option is shown, such as `-e, --env KEY[=VAL]`. */
export function spell({ short, long, argument }: OptionRow): string {
  return `${short === undefined ? '    ' : `-${short}, `}--${long}${argument === undefined ? '' : ` ${argument}`}`;
}
