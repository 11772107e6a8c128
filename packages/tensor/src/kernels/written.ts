/** The frame around kernels that primitives write by hand: bindings, grid and profile. */
import type { Cluster } from "../compiler/fuse";
import { stridedView } from "../compiler/strided";
import type { CompileTarget } from "../compiler/target";
import { invariant } from "../errors";
import { loweringOf } from "../primitives/definition";
import type { Tensor } from "../tensor";
import { bindingSlots, bytesOf, type KernelPart, type KernelTensors } from "./kernel";

export function writtenKernel(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): KernelPart {
  const node = cluster.members[0]?.node as Tensor;
  const lowering = loweringOf(node, "kernel");
  invariant(lowering, "a kernel written by hand");
  const slots = bindingSlots(tensors);
  const slotOf = (tensor: Tensor): number => slots.findIndex((slot) => slot.tensors.includes(tensor));
  const inputs = node.inputs.map((input) => {
    const view = stridedView(input, tensors.isStored);
    invariant(view, "an input is in memory, or a strided view of what is");
    const { base, offset, strides } = view;
    return { base, shape: input.shape, dtype: input.dtype, offset, strides, binding: slotOf(base) };
  });
  const written = lowering.kernel(inputs, node, node.params, target);
  const nameOf = (tensor: Tensor): string => slots[slotOf(tensor)]?.name as string;
  const names = { inputs: inputs.map(({ base }) => nameOf(base)), output: nameOf(node) };
  const isVector = (tensor: Tensor): boolean =>
    tensor === node
      ? (written.vectors?.output ?? false)
      : (written.vectors?.inputs?.[inputs.findIndex(({ base }) => base === tensor)] ?? false);
  const { declarations } = written;
  return {
    label: written.label,
    slots,
    vectors: slots.map((slot) => isVector(slot.tensors[0] as Tensor)),
    statements: {
      body: written.body(names),
      functions: written.functions ?? [],
      vectorFunctions: [],
      ...(declarations !== undefined && {
        declarations: typeof declarations === "string" ? declarations : declarations(names),
      }),
    },
    workgroupSize: written.workgroupSize,
    workgroups: written.workgroups,
    flops: written.flops,
    bytes: bytesOf([...tensors.reads, ...tensors.writes]),
  };
}
