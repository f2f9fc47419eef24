// SPDX-License-Identifier: Apache-2.0
import { relative, resolve } from 'node:path';
import * as esbuild from 'esbuild';
import { bundleScript, type Script, scriptOptions } from './scripts.ts';
import { root } from './step.ts';

const entry = 'runtime/main.ts';
/** What import() gives of this module is a script of its own, so that a launch without devices does not read it. */
const devicesModule = 'runtime/gpu/devices.ts';
const devicesExports = ['readDevices', 'planDevices', 'reportDevices'];

/**
 * Bundles the planner as two scripts: planner.cjs, and devices.cjs with what only devices need. Modules that both use are in the planner alone; the
 * other script gets them by `require('planner:PATH')`. runtime/boot.cjs loads both.
 */
export async function bundlePlanner(version: string): Promise<{ planner: Script; devices: Script }> {
  const options = { ...scriptOptions(version), entryPoints: [entry], write: false, plugins: [replaceDevices([])] };
  const { metafile } = await esbuild.build({ ...options, metafile: true });
  const own = new Set(Object.keys(metafile.inputs));
  const shared = new Set<string>();
  const devices = await bundleScript(devicesModule, 'devices.cjs', version, [takeFromPlanner(own, shared)]);
  const planner = await bundleScript(entry, 'planner.cjs', version, [replaceDevices([...shared].sort())]);
  return { planner, devices };
}

/** In the planner's script: instead of the module a few lines that load the other script. loadScript is a parameter of the function around it. */
function replaceDevices(shared: readonly string[]): esbuild.Plugin {
  return {
    name: 'devices',
    setup(build) {
      build.onLoad({ filter: /\/runtime\/gpu\/devices\.ts$/ }, () => ({
        loader: 'js',
        resolveDir: root,
        contents: [
          ...shared.map((path, index) => `import * as module${index} from './${path}';`),
          `const shared = { ${shared.map((path, index) => `'planner:${path}': module${index}`).join(', ')} };`,
          `export const { ${devicesExports.join(', ')} } = loadScript('devices', (id) => shared[id] ?? require(id));`,
        ].join('\n'),
      }));
    },
  };
}

/** In the other script: leaves out the modules that the planner's has, and notes them in `shared`. */
function takeFromPlanner(own: ReadonlySet<string>, shared: Set<string>): esbuild.Plugin {
  return {
    name: 'shared',
    setup(build) {
      build.onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir }) => {
        const module = relative(root, resolve(resolveDir, path));
        if (!own.has(module) || module === devicesModule) return undefined;
        shared.add(module);
        return { path: `planner:${module}`, external: true };
      });
    },
  };
}
