// SPDX-License-Identifier: Apache-2.0

/** The capabilities of NVIDIA_DRIVER_CAPABILITIES. */
export const capabilities = ['compute', 'compat32', 'graphics', 'utility', 'video', 'display', 'ngx'] as const;
export type Capability = (typeof capabilities)[number];

/**
 * Which capability needs which library of the driver, by its name without `lib` and `.so.VERSION` (libnvidia-container, nvc_info.c and
 * options.h). A library that is in none of these lists comes with compute and graphics, so that those of later drivers work.
 */
const libraries: Readonly<Record<'utility' | 'compute' | 'video' | 'graphics' | 'ngx', readonly string[]>> = {
  utility: ['nvidia-ml', 'nvidia-cfg', 'nvidia-nscq', 'nvidia-sandboxutils'],
  compute: [
    'cuda',
    'cudadebugger',
    'nvidia-opencl',
    'nvidia-gpucomp',
    'nvidia-ptxjitcompiler',
    'nvidia-fatbinaryloader',
    'nvidia-allocator',
    'nvidia-compiler',
    'nvidia-pkcs11',
    'nvidia-pkcs11-openssl3',
    'nvidia-nvvm',
    'nvidia-nvvm70',
    'nvidia-tileiras',
  ],
  video: ['vdpau_nvidia', 'nvidia-encode', 'nvidia-opticalflow', 'nvcuvid'],
  graphics: [
    'nvidia-eglcore',
    'nvidia-glcore',
    'nvidia-tls',
    'nvidia-glsi',
    'nvidia-fbc',
    'nvidia-ifr',
    'nvidia-rtcore',
    'nvidia-glvkspirv',
    'nvidia-cbl',
    'nvidia-gpucomp',
    'nvidia-allocator',
    'nvidia-vulkan-producer',
    'nvidia-egl-gbm',
    'nvidia-egl-wayland',
    'nvidia-egl-wayland2',
    'nvidia-egl-xcb',
    'nvidia-egl-xlib',
    'nvidia-present',
    'nvoptix',
    'GLX_nvidia',
    'EGL_nvidia',
    'GLESv2_nvidia',
    'GLESv1_CM_nvidia',
  ],
  ngx: ['nvidia-ngx'],
};

/** Without these nothing works that was asked for. */
export const mandatory: Readonly<Partial<Record<Capability, string>>> = { compute: 'cuda', utility: 'nvidia-ml' };

/** Libraries of the driver that have versions of their own, after `lib`: `libnvidia-egl-gbm.so.1.1.2`. A regular expression. */
export const ownVersions =
  'nvidia-(?:egl-(?:gbm|wayland2?|xcb|xlib)|vulkan-producer|nvvm70)\\.so\\.\\d+\\.\\d+(?:\\.\\d+)*';

/** Is a library (`nvidia-ml`) part of what these capabilities mean? video needs those of compute, display those of graphics. */
export function isWanted(stem: string, wanted: ReadonlySet<Capability>): boolean {
  const groups = new Set<keyof typeof libraries>();
  for (const capability of wanted) {
    if (capability === 'video') groups.add('video').add('compute');
    else if (capability === 'display') groups.add('graphics');
    else if (capability !== 'compat32') groups.add(capability);
  }
  const names = Object.entries(libraries) as [keyof typeof libraries, readonly string[]][];
  const known = names.filter(([, stems]) => stems.includes(stem));
  if (known.length === 0) return groups.has('compute') || groups.has('graphics');
  return known.some(([group]) => groups.has(group));
}

/** Programs by capability; all of them are optional. */
export const programs: readonly { readonly name: string; readonly capability: Capability }[] = [
  { name: 'nvidia-smi', capability: 'utility' },
  { name: 'nvidia-debugdump', capability: 'utility' },
  { name: 'nvidia-persistenced', capability: 'utility' },
  { name: 'nv-fabricmanager', capability: 'utility' },
  { name: 'nvidia-cuda-mps-control', capability: 'compute' },
  { name: 'nvidia-cuda-mps-server', capability: 'compute' },
  { name: 'nvidia-imex', capability: 'compute' },
  { name: 'nvidia-imex-ctl', capability: 'compute' },
];

/** Where drivers put programs: distributions, Debian's alternatives, node images of clouds, NixOS. */
export const programDirs = [
  '/usr/bin',
  '/usr/local/nvidia/bin',
  '/usr/local/bin',
  '/opt/bin',
  '/usr/sbin',
  '/run/current-system/sw/bin',
];

/** Sockets of the driver's daemons; `mps` is a directory that the user may name. */
export const sockets: readonly { readonly path: string; readonly capability: Capability }[] = [
  { path: '/run/nvidia-persistenced/socket', capability: 'utility' },
  { path: '/run/nvidia-fabricmanager/socket', capability: 'utility' },
];

/** Files that graphics libraries read, below /usr/share or /etc on the host and in the container (nvidia-container-toolkit, graphics.go). */
export const graphicsFiles = {
  '/usr/share': [
    'glvnd/egl_vendor.d/10_nvidia.json',
    'egl/egl_external_platform.d/15_nvidia_gbm.json',
    'egl/egl_external_platform.d/10_nvidia_wayland.json',
    'egl/egl_external_platform.d/09_nvidia_wayland2.json',
    'egl/egl_external_platform.d/20_nvidia_xcb.json',
    'egl/egl_external_platform.d/20_nvidia_xlib.json',
    'nvidia/nvoptix.bin',
    'X11/xorg.conf.d/10-nvidia.conf',
    'X11/xorg.conf.d/nvidia-drm-outputclass.conf',
  ],
  '/etc': [
    'vulkan/icd.d/nvidia_icd.json',
    'vulkan/icd.d/nvidia_icd.x86_64.json',
    'vulkan/icd.d/nvidia_icd.aarch64.json',
    'vulkan/icd.d/nvidia_layers.json',
    'vulkan/implicit_layer.d/nvidia_layers.json',
  ],
} as const;
/** Of OpenCL, for compute. */
export const openclFile = '/etc/OpenCL/vendors/nvidia.icd';
/** Where a host may have each of these instead of /etc and /usr/share. */
export const configRoots = ['/etc', '/usr/share', '/usr/local/share'];

/** Links that a driver's installer makes and programs look for, in the library directory: path below it, target. */
export const fixedLinks: readonly { readonly stem: string; readonly path: string; readonly target: string }[] = [
  { stem: 'cuda', path: 'libcuda.so', target: 'libcuda.so.1' },
  { stem: 'nvidia-opticalflow', path: 'libnvidia-opticalflow.so', target: 'libnvidia-opticalflow.so.1' },
  { stem: 'nvidia-allocator', path: 'gbm/nvidia-drm_gbm.so', target: '../libnvidia-allocator.so.1' },
  {
    stem: 'nvidia-vulkan-producer',
    path: 'libnvidia-vulkan-producer.so',
    target: 'libnvidia-vulkan-producer.so.VERSION',
  },
  { stem: 'GLX_nvidia', path: 'libGLX_indirect.so.0', target: 'libGLX_nvidia.so.VERSION' },
];

export const driverProc = '/proc/driver/nvidia';
