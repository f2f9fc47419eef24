// SPDX-License-Identifier: Apache-2.0

/**
 * Text as a terminal may be given it. What images, registries and daemons call things stands in messages: control characters (ECMA-48, C0 and C1), which
 * could move the cursor or set the title, and those that turn the direction of writing (Unicode, "Bidirectional Algorithm") become `?`. Ends of lines and
 * tabs stay.
 */
export function cleanText(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
}

/** A message as cleanText gives it; further lines are indented, so that none looks like a message of ours. */
export function cleanMessage(text: string): string {
  return cleanText(text.replaceAll('\r\n', '\n'))
    .trimEnd()
    .replace(/\n(?! )/g, '\n  ');
}
