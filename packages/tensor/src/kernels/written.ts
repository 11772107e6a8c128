/** The frame around kernels that primitives write by hand: bindings, grid and profile. */
import type { Cluster } from "../compiler/fuse";
import type { CompileTarget } from "../compiler/target";
import { invariant } from "../errors";
import { loweringOf } from "../primitives/definition";
import type { Tensor } from "../tensor";
import { bindingSlots, bytesOf, type KernelPart, type KernelTensors } from "./kernel";

export function writtenKernel(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): KernelPart {
  const node = cluster.members[0]?.node as Tensor;
  const lowering = loweringOf(node, "kernel");
  invariant(lowering, "a kernel written by hand");
  const written = lowering.kernel(node.inputs, node, node.params, target);
  const slots = bindingSlots(tensors);
  const nameOf = (tensor: Tensor): string => slots.find((slot) => slot.tensors.includes(tensor))?.name as string;
  const isVector = (tensor: Tensor): boolean =>
    tensor === node
      ? (written.vectors?.output ?? false)
      : (written.vectors?.inputs?.[node.inputs.indexOf(tensor)] ?? false);
  return {
    label: written.label,
    slots,
    vectors: slots.map((slot) => isVector(slot.tensors[0] as Tensor)),
    statements: {
      body: written.body({ inputs: node.inputs.map(nameOf), output: nameOf(node) }),
      functions: written.functions ?? [],
      vectorFunctions: [],
      ...(written.declarations !== undefined && { declarations: () => written.declarations as string }),
    },
    workgroupSize: written.workgroupSize,
    workgroups: written.workgroups,
    flops: written.flops,
    bytes: bytesOf([...tensors.reads, ...tensors.writes]),
  };
}
