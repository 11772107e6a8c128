import { contractionKernel } from "../kernels/contraction.wgsl";
import type { Kernel, KernelTensors } from "../kernels/kernel";
import { mapKernel } from "../kernels/map.wgsl";
import { writtenKernel } from "../kernels/written";
import type { Cluster } from "./fuse";
import type { CompileTarget } from "./target";

/** The kernel that computes a cluster. */
export function lower(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): Kernel {
  switch (cluster.members[0]?.kind) {
    case "contraction":
      return contractionKernel(cluster, tensors, target);
    case "kernel":
      return writtenKernel(cluster, tensors, target);
    default:
      return mapKernel(cluster, tensors, target);
  }
}
