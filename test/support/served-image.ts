// SPDX-License-Identifier: Apache-2.0
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';
import type { LayoutLayer } from './oci-layout.ts';
import { type PushedImage, pushImage } from './push-image.ts';
import { startRegistry, type TestRegistry } from './registry.ts';

/** An image in a registry of its own, behind a proxy that sees and spoils what is asked for. */
export interface ServedImage {
  readonly registry: TestRegistry;
  readonly proxy: FaultProxy;
  readonly image: PushedImage;
  /** `docker://..`, through the proxy. */
  readonly name: string;
  stop(): Promise<void>;
}

/** Starts both and puts an image with these layers, lowest first, into the registry. */
export async function serveImage(layers: readonly LayoutLayer[]): Promise<ServedImage> {
  const registry = await startRegistry();
  const proxy = await startFaultProxy(registry.url);
  return {
    registry,
    proxy,
    image: await pushImage(registry.url, 'team/app', '1', { layers }),
    name: `docker://${proxy.host}/team/app:1`,
    async stop() {
      await proxy.stop();
      await registry.stop();
    },
  };
}
