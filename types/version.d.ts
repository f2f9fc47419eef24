// SPDX-License-Identifier: Apache-2.0

/** package.json's version, put in by the build and by vitest.config.ts. */
declare const BUNDLER_VERSION: string;
