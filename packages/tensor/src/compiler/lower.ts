import { contractionKernel } from "../kernels/contraction.wgsl";
import type { Kernel, KernelTensors } from "../kernels/kernel";
import { mapKernel } from "../kernels/map.wgsl";
import type { Cluster } from "./fuse";
import type { CompileTarget } from "./target";

/** The kernel that computes a cluster. */
export function lower(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): Kernel {
  return cluster.members[0]?.kind === "contraction"
    ? contractionKernel(cluster, tensors, target)
    : mapKernel(cluster, tensors, target);
}
