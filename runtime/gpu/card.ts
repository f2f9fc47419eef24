// SPDX-License-Identifier: Apache-2.0
import type { Observer } from '../observer.ts';

/** Is there a GPU of NVIDIA's, whether or not a driver has it? PCI: vendor 10de, class 03 (displays): the kernel's sysfs-bus-pci. */
export function hasNvidiaCard(observer: Observer): boolean {
  const root = '/sys/bus/pci/devices';
  return observer
    .list(root)
    .some(
      (name) =>
        observer.readFile(`${root}/${name}/vendor`)?.trim() === '0x10de' &&
        observer.readFile(`${root}/${name}/class`)?.startsWith('0x03'),
    );
}
