import { contractionKernel } from "../kernels/contraction.wgsl";
import type { KernelPart, KernelTensors } from "../kernels/kernel";
import { mapKernel } from "../kernels/map.wgsl";
import { rowsKernel } from "../kernels/rows.wgsl";
import { writtenKernel } from "../kernels/written";
import type { Cluster } from "./fuse";
import type { CompileTarget } from "./target";

/** The kernel that computes a cluster, or the part of a kernel. */
export function lower(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): KernelPart {
  switch (cluster.members[0]?.kind) {
    case "contraction":
      return contractionKernel(cluster, tensors, target);
    case "kernel":
      return writtenKernel(cluster, tensors, target);
    default:
      return rowsKernel(cluster, tensors, target) ?? mapKernel(cluster, tensors, target);
  }
}
