// SPDX-License-Identifier: Apache-2.0

/** Text files are imported as strings: esbuild does it in a build, a plugin in vitest.config.ts in tests. */
declare module '*.txt' {
  const text: string;
  export default text;
}
