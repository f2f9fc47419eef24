// SPDX-License-Identifier: Apache-2.0

/** All of the support for devices, in one module that is loaded only by a launch that may ask for some (runtime/device-gate.ts). */
export { readDevices } from './collect.ts';
export { planDevices } from './plan-devices.ts';
export { reportDevices } from './report.ts';
