// SPDX-License-Identifier: Apache-2.0

/** What a test says of a GPU; mig: its mode, migs: elements of logMig. */
export interface LoggedGpu {
  readonly bus: string;
  readonly name: string;
  readonly brand: string;
  readonly uuid: string;
  readonly mig?: string;
  readonly migs?: string;
}

function logGpu({ bus, name, brand, uuid: own, mig = 'N/A', migs = '\n\t\t\tNone' }: LoggedGpu): string {
  return `\t<gpu id="${bus}">
\t\t<product_name>${name}</product_name>
\t\t<product_brand>${brand}</product_brand>
\t\t<display_mode>Requested functionality has been deprecated</display_mode>
\t\t<mig_mode>
\t\t\t<current_mig>${mig}</current_mig>
\t\t\t<pending_mig>${mig}</pending_mig>
\t\t</mig_mode>
\t\t<mig_devices>${migs}
\t\t</mig_devices>
\t\t<uuid>${own}</uuid>
\t\t<minor_number>0</minor_number>
\t\t<pci>
\t\t\t<pci_bus_id>${bus}</pci_bus_id>
\t\t\t<pci_gpu_link_info>
\t\t\t</pci_gpu_link_info>
\t\t</pci>
\t\t<processes>
\t\t\t<process_info>
\t\t\t\t<gpu_instance_id>3</gpu_instance_id>
\t\t\t\t<compute_instance_id>0</compute_instance_id>
\t\t\t\t<pid>41</pid>
\t\t\t</process_info>
\t\t</processes>
\t</gpu>
`;
}

/** One MIG device of a GPU. */
export function logMig(index: number, gi: number | string, ci: number): string {
  return `
\t\t\t<mig_device>
\t\t\t\t<index>${index}</index>
\t\t\t\t<gpu_instance_id>${gi}</gpu_instance_id>
\t\t\t\t<compute_instance_id>${ci}</compute_instance_id>
\t\t\t\t<device_attributes>
\t\t\t\t\t<shared>
\t\t\t\t\t\t<multiprocessor_count>16</multiprocessor_count>
\t\t\t\t\t</shared>
\t\t\t\t</device_attributes>
\t\t\t</mig_device>`;
}

/** What `nvidia-smi -q -x` prints, cut to the elements that matter and some that could be mistaken for them. versions: elements of the host. */
export function log(versions: string, gpus: readonly LoggedGpu[]): string {
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">
<nvidia_smi_log>
\t<timestamp>Fri Nov 28 07:00:00 2025</timestamp>
${versions}
\t<attached_gpus>${gpus.length}</attached_gpus>
${gpus.map(logGpu).join('')}
</nvidia_smi_log>
`;
}
