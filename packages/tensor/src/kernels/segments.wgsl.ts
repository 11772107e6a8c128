/**
 * Elementwise members over many tensors at once. A workgroup finds its segment in a table, and there where the segment's
 * tensors begin in the bindings; from then on it is a map kernel over vectors of four. What is computed behind the end of
 * a tensor, to fill the last vector, falls into the padding that every place has.
 *
 * Traffic: that of the segments' own kernels, and a few words of the table for every workgroup.
 */
import { Emitter, laneIndex, type Value } from "../compiler/emit";
import { type Cluster, memberCoordinates } from "../compiler/fuse";
import type { Tensor } from "../tensor";
import { addIndex, type Index, scaleIndex, variableIndex } from "../view";
import { bindingSlots, bytesOf, type KernelPart, type KernelStatements, type KernelTensors } from "./kernel";

const workgroupSize = 64;
const elementsPerGroup = 4 * workgroupSize;
/** Vectors that a binding can hold: positions stay within 32 bits. */
const mostVectors = 2 ** 28;

/** Words of a segment in the table: its first workgroup, its vectors, and where each slot's tensor begins, in vectors. */
const wordsPerSegment = (slots: number): number => 2 + slots;

/**
 * The statements for segments like `cluster`.
 *
 * @param shared for every slot, the tensor that all segments read, if they do.
 */
export function segmentText(
  cluster: Cluster,
  tensors: KernelTensors,
  shared: readonly (Tensor | undefined)[],
  segments = 1,
): KernelStatements {
  const slots = bindingSlots(tensors);
  const slotOf = new Map(slots.flatMap(({ tensors: own }, index) => own.map((node) => [node, index] as const)));
  const isOwn = (node: Tensor): boolean => shared[slotOf.get(node) as number] === undefined;
  const begin = (node: Tensor): Index => scaleIndex(variableIndex(`begin${slotOf.get(node)}`, 0, mostVectors), 4);
  const emitter = new Emitter({
    isStored: tensors.isStored,
    keepsLoops: tensors.keepsLoops,
    bufferName: (node) => slots[slotOf.get(node) as number]?.name as string,
    isVector: isOwn,
    offset: (node) => (isOwn(node) ? begin(node) : undefined),
  });
  const table = `in${slots.length}`;
  const words = wordsPerSegment(slots.length);
  emitter.line("var low = 0u;");
  emitter.line(`var high = ${segments - 1}u;`);
  emitter.line(`for (var round = 0; round < ${Math.ceil(Math.log2(segments)) + 1}; round++) {`);
  emitter.line("  let middle = (low + high + 1u) / 2u;");
  emitter.line(`  if (${table}[middle * ${words}u] <= number) { low = middle; } else { high = max(middle, 1u) - 1u; }`);
  emitter.line("}");
  emitter.line(`let row = low * ${words}u;`);
  emitter.line(`let element = i32((number - ${table}[row]) * ${workgroupSize}u + local);`);
  emitter.line(`if (element >= i32(${table}[row + 1u])) { return; }`);
  for (const [index, { tensors: own }] of slots.entries()) {
    if (isOwn(own[0] as Tensor)) emitter.line(`let begin${index} = i32(${table}[row + ${2 + index}u]);`);
  }
  const position = addIndex(scaleIndex(variableIndex("element", 0, Math.ceil(cluster.size / 4) - 1), 4), laneIndex);
  const stored = new Set(cluster.stored);
  const results: { readonly node: Tensor; readonly value: Value }[] = [];
  for (const member of cluster.members) {
    const value = emitter.compute(member.node, memberCoordinates(member, position, []));
    emitter.setRegister(member.node, value);
    if (stored.has(member.node)) results.push({ node: member.node, value });
  }
  for (const { node, value } of results) emitter.store(node, position, value);
  return emitter.statements();
}

/** One kernel for many clusters; the table, a leaf that is filled when memory is planned, is its last binding. */
export function segmentKernel(
  clusters: readonly Cluster[],
  tensors: readonly KernelTensors[],
  shared: readonly (Tensor | undefined)[],
  table: Tensor,
): KernelPart {
  const [first, own] = [clusters[0] as Cluster, tensors[0] as KernelTensors];
  const slots = tensors.map(bindingSlots);
  const joint = slots[0] as (typeof slots)[0];
  const name = first.members[0]?.node.primitive.name;
  return {
    label: `segments_${name}_${first.members[0]?.node.dtype}_${clusters.length}`,
    slots: [
      ...joint.map((slot, index) => ({
        ...slot,
        segments: shared[index] === undefined ? slots.map((list) => list[index]?.tensors ?? []) : undefined,
      })),
      { name: `in${joint.length}`, access: "read", tensors: [table], segments: undefined },
    ],
    vectors: [...shared.map((same) => same === undefined), false],
    statements: segmentText(first, own, shared, clusters.length),
    workgroupSize,
    workgroups: clusters.reduce((sum, { size }) => sum + Math.ceil(size / elementsPerGroup), 0),
    flops: clusters.reduce((sum, { size, members }) => sum + size * members.length, 0),
    bytes: bytesOf(new Set(tensors.flatMap(({ reads, writes }) => [...reads, ...writes]))),
  };
}

/**
 * The contents of the table.
 *
 * @param beginOf where the tensor in a slot of a segment begins in the slot's binding, in vectors of four.
 */
export function segmentTable(
  clusters: readonly Cluster[],
  slots: number,
  beginOf: (segment: number, slot: number) => number,
): Uint32Array {
  const words = wordsPerSegment(slots);
  const table = new Uint32Array(clusters.length * words);
  let group = 0;
  for (const [segment, { size }] of clusters.entries()) {
    table[segment * words] = group;
    table[segment * words + 1] = Math.ceil(size / 4);
    for (let slot = 0; slot < slots; slot++) {
      table[segment * words + 2 + slot] = beginOf(segment, slot);
    }
    group += Math.ceil(size / elementsPerGroup);
  }
  return table;
}
