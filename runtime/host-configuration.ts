// SPDX-License-Identifier: Apache-2.0
import { type Bytes, toBuffer } from '../src/format/bytes.ts';
import { type Asked, evaluateValue, isLaunchSetting, parseConf } from '../src/format/enroot-conf.ts';
import { builtinName, findStock } from '../src/format/stock-files.ts';
import type { FoundFile } from './configuration.ts';
import { Failure } from './failure.ts';
import { readEnded, runQuestion } from './host-program.ts';
import type { Observer } from './observer.ts';
import { printable } from './options.ts';
import type { Request } from './request.ts';

type Ask = (questions: readonly string[]) => Record<string, Bytes>;
type Variables = Readonly<Record<string, Bytes>>;

/** enroot's own configuration on this host, for --host-config: enroot.conf, enroot.conf.d, and the three directories of the system and of the user. */
export function readHostConfiguration(
  observer: Observer,
  request: Request,
  ask: Ask,
): { settings: Variables; files: FoundFile[] } {
  const { env } = request;
  const system = env.ENROOT_SYSCONF_PATH || '/etc/enroot';
  const home = env.XDG_CONFIG_HOME || (env.HOME ? `${env.HOME}/.config` : '');
  const user = env.ENROOT_CONFIG_PATH || (home === '' ? '' : `${home}/enroot`);
  const dropIns = observer.list(`${system}/enroot.conf.d`).filter((name) => name.endsWith('.conf'));
  const texts = ['enroot.conf', ...dropIns.map((name) => `enroot.conf.d/${name}`)]
    .map((name) => observer.readFile(`${system}/${name}`) ?? '')
    .join('\n');
  const settings = evaluateLines(parseConf(texts), request, ask, false);
  return {
    settings: Object.fromEntries(Object.entries(settings).filter(([name]) => isLaunchSetting(name))),
    files: [...findFiles(observer, 'system', system), ...(user === '' ? [] : findFiles(observer, 'user', user))],
  };
}

function findFiles(observer: Observer, from: 'system' | 'user', directory: Bytes): FoundFile[] {
  return ['environ.d', 'mounts.d', 'hooks.d'].flatMap((part) =>
    observer.list(`${directory}/${part}`).flatMap((name): FoundFile[] => {
      const hostPath = `${directory}/${part}/${name}`;
      const mode = observer.modeOfFile(hostPath);
      const content = mode === null ? null : observer.readFile(hostPath);
      if (mode === null || content === null) return [];
      const stock = findStock(digestOf(content));
      const builtin = stock === undefined ? '' : builtinName(stock.path);
      return [{ from, path: `${part}/${name}`, mode, content, hostPath, builtin }];
    }),
  );
}

/** SHA-256 in hex. The module is loaded here and not at every start. */
function digestOf(content: Bytes): string {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(toBuffer(content)).digest('hex');
}

/** Evaluates settings in their order; a shell of the host does what takes one. overwrite: of two with one name the later wins, not the first. */
export function evaluateLines(
  lines: readonly (readonly [name: string, value: Bytes])[],
  request: Request,
  ask: Ask,
  overwrite: boolean,
): Record<string, Bytes> {
  const values: Record<string, Bytes> = Object.create(null);
  const asked: Asked = {
    variable: (name) => values[name] ?? request.env[name],
    command: (command) => answerCommand(command, request, ask),
  };
  for (const [name, text] of lines) {
    if (!overwrite && values[name]) continue;
    values[name] = evaluateValue(text, asked) ?? runShell(text, name, ask);
  }
  return values;
}

function answerCommand(command: string, request: Request, ask: Ask): Bytes {
  if (command === 'id -u') return String(request.euid);
  if (command === 'id -g') return String(request.egid);
  if (command === 'nproc') return String(request.cpus);
  return runShell('$(id -un)', 'id -un', ask);
}

function runShell(text: Bytes, name: string, ask: Ask): Bytes {
  const question = runQuestion(['sh', '-c', 'eval "echo $1"', 'sh', text]);
  const { how, code, stdout } = readEnded(ask([question])[question] ?? '');
  if (how === 'exit' && code === 0) return stdout.replace(/\n+$/, '').replaceAll('\n', ' ');
  throw new Failure(`cannot evaluate ${name}=${printable(text)}: the shell ended with ${how} ${code}`);
}
