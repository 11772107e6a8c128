/**
 * One invocation computes one element of a space (or four neighbours, as vectors), for every member of a cluster:
 * elementwise results, reductions as serial loops in a fixed order, and loops that write whole rows. Results of earlier
 * members are in registers.
 *
 * Traffic: every tensor read once, every stored result written once. No workgroup memory, no barriers.
 * Limits: one storage binding per tensor; any grid is split to the limit of workgroups per dimension.
 */
import { type Emitter, laneIndex, literal, splat, type Value } from "../compiler/emit";
import { type Cluster, loopExtents, type Member, memberCoordinates } from "../compiler/fuse";
import type { CompileTarget } from "../compiler/target";
import { computeType } from "../dtype";
import { type Combine, loweringOf } from "../primitives/definition";
import { sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { addIndex, type Index, linearize, scaleIndex, variableIndex } from "../view";
import { combined, startOf } from "./combine";
import { bindingSlots, bytesOf, invocationNumber, type KernelPart, type KernelTensors, makeEmitter } from "./kernel";

/** Where vectors of four are used: across the space, along the innermost loop of reductions, or nowhere. */
type Vectors = "space" | "loop" | "none";

const workgroupSize = 64;

export function mapKernel(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): KernelPart {
  const slots = bindingSlots(tensors);
  const vectors = chooseVectors(cluster, tensors, target);
  const trial = makeEmitter(tensors, slots, () => false);
  draw(trial, cluster, vectors);
  const wide = wideTensors(cluster, tensors, vectors, trial);
  const isVector = (node: Tensor) => wide.has(node);
  const emitter = makeEmitter(tensors, slots, isVector);
  draw(emitter, cluster, vectors);
  const invocations = vectors === "space" ? cluster.size / 4 : cluster.size;
  return {
    label: labelOf(cluster),
    slots,
    vectors: slots.map((slot) => isVector(slot.tensors[0] as Tensor)),
    statements: emitter.statements(),
    workgroupSize,
    workgroups: Math.ceil(invocations / workgroupSize),
    flops: cluster.members.reduce((sum, member) => sum + cluster.size * sizeOf(loopExtents(member)), 0),
    bytes: bytesOf([...tensors.reads, ...tensors.writes]),
  };
}

/** A name that says what the kernel does: its members' operations, the most telling one first. */
function labelOf({ members }: Cluster): string {
  const reductions = members.filter(({ kind }) => kind === "reduction").map(({ node }) => node.primitive.name);
  const others = members.filter(({ kind }) => kind !== "reduction").map(({ node }) => node.primitive.name);
  const names = [...new Set([...reductions, ...others])].slice(0, 4).join("_");
  return `${reductions.length > 0 ? "reduce" : "map"}_${names}_${members[0]?.node.dtype}`;
}

/** The widest form in which no vector has to be put together from scattered scalars. */
function chooseVectors(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): Vectors {
  const attempt = (vectors: Vectors): boolean => {
    const emitter = makeEmitter(tensors, bindingSlots(tensors), () => false);
    draw(emitter, cluster, vectors);
    return emitter.splits === 0 && emitter.vectorLoads.size > 0;
  };
  const hasLoops = cluster.members.some((member) => loopExtents(member).length > 0);
  const enough = !hasLoops || cluster.size / 4 >= target.invocations / 4;
  if (cluster.size % 4 === 0 && enough && attempt("space")) return "space";
  const fits = cluster.members.some((member) => member.kind === "reduction" && canSplitLoop(member));
  return fits && attempt("loop") ? "loop" : "none";
}

/** Can the innermost loop take four elements at a time? Positions of extremes are compared one by one. */
function canSplitLoop(member: Member): boolean {
  const combine = combineOf(member);
  const innermost = loopExtents(member).at(-1) ?? 1;
  return combine !== undefined && !combine.startsWith("arg") && innermost % 4 === 0;
}

const combineOf = (member: Member): Combine | undefined => loweringOf(member.node, "reduction")?.combine;

/** Tensors declared as arrays of vectors: always loaded in fours, or written in fours. */
function wideTensors(cluster: Cluster, tensors: KernelTensors, vectors: Vectors, trial: Emitter): Set<Tensor> {
  const wide = new Set(trial.vectorLoads);
  if (vectors === "space") {
    for (const { kind, node } of cluster.members) if (kind !== "loop") wide.add(node);
  }
  for (const node of tensors.writes) {
    const before = tensors.inPlace.get(node);
    const written =
      vectors === "space" && cluster.members.some((member) => member.node === node && member.kind !== "loop");
    if (!written) wide.delete(node);
    if (before === undefined) continue;
    if (written) wide.add(before);
    else wide.delete(before);
  }
  return wide;
}

function draw(emitter: Emitter, cluster: Cluster, vectors: Vectors): void {
  const { size } = cluster;
  const count = vectors === "space" ? size / 4 : size;
  emitter.line(`let element = ${invocationNumber(workgroupSize)};`);
  emitter.line(`if (element >= ${count}) { return; }`);
  const element = variableIndex("element", 0, count - 1);
  const position = vectors === "space" ? addIndex(scaleIndex(element, 4), laneIndex) : element;
  const results: { readonly node: Tensor; readonly value: Value }[] = [];
  const isStored = new Set(cluster.stored);
  for (const member of cluster.members) {
    if (member.kind === "loop") {
      drawLoop(emitter, member, position);
      continue;
    }
    const value =
      member.kind === "reduction"
        ? drawReduction(emitter, member, position, vectors)
        : emitter.compute(member.node, memberCoordinates(member, position, []));
    emitter.setRegister(member.node, value);
    if (isStored.has(member.node)) results.push({ node: member.node, value });
  }
  // Results are written last: what they replace in place is read before.
  for (const { node, value } of results) emitter.store(node, position, value);
}

function drawLoop(emitter: Emitter, member: Member, position: Index): void {
  const extents = loopExtents(member);
  const step = (variables: readonly Index[]): void => {
    const extent = extents[variables.length];
    if (extent !== undefined) {
      emitter.loop(emitter.fresh("r"), extent, (variable) => step([...variables, variable]));
      return;
    }
    const coordinates = memberCoordinates(member, position, variables);
    emitter.store(member.node, linearize(coordinates, member.node.shape), emitter.compute(member.node, coordinates));
  };
  step([]);
}

function drawReduction(emitter: Emitter, member: Member, position: Index, vectors: Vectors): Value {
  const combine = combineOf(member) as Combine;
  const input = member.node.inputs[0] as Tensor;
  const inLoop = vectors === "loop" && canSplitLoop(member);
  const isWide = vectors === "space" || inLoop;
  const type = computeType[input.dtype];
  const wide = (name: string) => (isWide ? `vec4<${name}>` : name);
  const start = `${wide(type)}(${literal(startOf(combine, type), input.dtype)})`;
  const total = emitter.fresh("total");
  emitter.line(`var ${total} = ${start};`);
  const place = combine.startsWith("arg") ? emitter.fresh("place") : undefined;
  if (place !== undefined) emitter.line(`var ${place} = ${wide("i32")}(0);`);

  const extents = loopExtents(member);
  const loops = extents.filter((extent) => extent > 1).length;
  const step = (variables: readonly Index[], target: string): void => {
    const extent = extents[variables.length];
    if (extent === undefined) {
      accumulate(variables, target);
      return;
    }
    const isInnermost = variables.length === extents.length - 1;
    // The innermost of several loops has a sum of its own: rounding errors grow with the loops' lengths, not with
    // their product.
    const partial = isInnermost && loops > 1 && extent > 1 && combine === "sum" ? emitter.fresh("part") : undefined;
    if (partial !== undefined) emitter.line(`var ${partial} = ${wide(type)}(0);`);
    const vectorLoop = isInnermost && inLoop;
    emitter.loop(emitter.fresh("r"), vectorLoop ? extent / 4 : extent, (variable) => {
      const index = vectorLoop ? addIndex(scaleIndex(variable, 4), laneIndex) : variable;
      step([...variables, index], partial ?? target);
    });
    if (partial !== undefined) emitter.line(`${target} = ${target} + ${partial};`);
  };
  const accumulate = (variables: readonly Index[], target: string): void => {
    const value = emitter.value(input, memberCoordinates(member, position, variables));
    const code = isWide && value.width === 1 ? splat(value) : value.code;
    if (place === undefined) {
      emitter.line(`${target} = ${combined(emitter, { combine, type, width: isWide ? 4 : 1 }, target, code)};`);
      return;
    }
    const better = emitter.fresh("better");
    emitter.line(`let ${better} = ${code} ${combine === "argmax" ? ">" : "<"} ${target};`);
    const at = emitter.index(linearize(variables, extents)).code;
    emitter.line(`${place} = select(${place}, ${wide("i32")}(${at}), ${better});`);
    emitter.line(`${target} = select(${target}, ${code}, ${better});`);
  };
  step([], total);

  const result = emitter.fresh("result");
  if (place !== undefined) emitter.line(`let ${result} = ${place};`);
  else if (inLoop) {
    const both = (a: string, b: string) => combined(emitter, { combine, type, width: 1 }, a, b);
    const [left, right] = [both(`${total}.x`, `${total}.y`), both(`${total}.z`, `${total}.w`)];
    emitter.line(`let ${result} = ${both(left, right)};`);
  } else emitter.line(`let ${result} = ${total};`);
  return { code: result, width: vectors === "space" ? 4 : 1, dtype: member.node.dtype, depth: emitter.depth };
}
