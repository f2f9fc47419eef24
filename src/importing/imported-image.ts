// SPDX-License-Identifier: Apache-2.0
import { createAnonymousFile } from './anonymous-file.ts';
import { writeImage } from './import-image.ts';
import { choosePacking } from './pack-settings.ts';
import { type SourceFlags, withImage } from './source-options.ts';

/** An image imported for the moment. */
export interface TransientImage {
  /** Path of the squashfs image; it has no name in the file system. */
  readonly path: string;
  readonly name: string;
  readonly reference: string;
}

/**
 * Imports an image into a file without a name in a directory, and hands it to an action. Events are shown, but never as JSON. `check` gets the image's name
 * before the import begins. Throws Failure.
 */
export async function withImportedImage(
  text: string,
  flags: SourceFlags,
  directory: string,
  check: (name: string) => Promise<void>,
  action: (image: TransientImage) => Promise<void>,
): Promise<void> {
  const { json, ...others } = flags;
  await withImage(
    text,
    { ...others, quiet: others.quiet === true || json === true },
    async ({ image, settings, view }) => {
      await check(image.name);
      const file = await createAnonymousFile(directory);
      try {
        const packing = choosePacking(settings, view.show);
        const request = { packing, sourceDateSeconds: settings.sourceDateSeconds, onEvent: view.show };
        await writeImage(image, file.descriptor, request, `to ${directory}`);
        view.end();
        await action({ path: file.path, name: image.name, reference: image.reference });
      } finally {
        file.close();
      }
    },
  );
}
