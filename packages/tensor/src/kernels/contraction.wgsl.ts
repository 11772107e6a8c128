/**
 * Contractions: operands read through views, any of the variants, and an epilogue of elementwise members.
 *
 * The variants are one file each in this folder's `contraction`; they share the description of the problem, the way to
 * an operand's elements, and the epilogue (`contraction/operands.ts`).
 */
import type { Cluster } from "../compiler/fuse";
import type { CompileTarget } from "../compiler/target";
import { dotFlops } from "../primitives/dot";
import type { Tensor } from "../tensor";
import { type Contraction, contractionOf, type Drawing, problemOf } from "./contraction/operands";
import { registerDrawing } from "./contraction/registers.wgsl";
import { skinnyDrawing } from "./contraction/skinny.wgsl";
import { type ContractionVariant, chooseVariant } from "./contraction/variants";
import { workgroupDrawing } from "./contraction/workgroup.wgsl";
import { bindingSlots, bytesOf, type KernelPart, type KernelTensors, makeEmitter } from "./kernel";

export function contractionKernel(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): KernelPart {
  const slots = bindingSlots(tensors);
  const contraction = contractionOf(cluster.members[0]?.node as Tensor);
  const variant = chooseVariant(problemOf(contraction, tensors.isStored, cluster.members.length > 1), target);
  const drawing = drawingOf(contraction, tensors, variant);
  const trial = makeEmitter(tensors, slots, () => false);
  drawing.draw(trial, cluster);
  const wide = wideTensors(tensors, drawing, trial.vectorLoads);
  const isVector = (node: Tensor) => wide.has(node);
  const emitter = makeEmitter(tensors, slots, isVector);
  drawing.draw(emitter, cluster);
  const { dot, rows, columns, depth, isSymmetric } = contraction;
  const epilogue = cluster.members.slice(1).map(({ node }) => node.primitive.name);
  return {
    label: ["dot", dot.dtype, `${rows}x${columns}x${depth}`, ...epilogue.slice(0, 3)].join("_"),
    slots,
    vectors: slots.map((slot) => isVector(slot.tensors[0] as Tensor)),
    statements: {
      ...emitter.statements(),
      ...(drawing.arrays !== undefined && { arrays: drawing.arrays }),
    },
    workgroupSize: drawing.workgroupSize,
    workgroups: drawing.workgroups,
    flops: dotFlops(dot.shape, contraction.contracted) * (isSymmetric ? (rows + 1) / (2 * rows) : 1),
    bytes: bytesOf([...tensors.reads, ...tensors.writes]),
  };
}

function drawingOf(contraction: Contraction, tensors: KernelTensors, variant: ContractionVariant): Drawing {
  switch (variant.kind) {
    case "registers":
      return registerDrawing(contraction, tensors, variant);
    case "workgroup":
      return workgroupDrawing(contraction, tensors, variant);
    case "skinny":
      return skinnyDrawing(contraction, tensors, variant);
  }
}

/** Tensors declared as arrays of vectors: loaded as vectors throughout, and results that are stored as vectors. */
function wideTensors(
  tensors: KernelTensors,
  { storesVectors }: Drawing,
  vectorLoads: ReadonlySet<Tensor>,
): Set<Tensor> {
  const wide = new Set(vectorLoads);
  for (const node of tensors.writes) {
    const before = tensors.inPlace.get(node);
    for (const own of before === undefined ? [node] : [node, before]) {
      if (storesVectors) wide.add(own);
      else wide.delete(own);
    }
  }
  return wide;
}
