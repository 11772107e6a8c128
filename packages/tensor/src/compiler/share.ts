/**
 * Clusters of equal structure have one text: the layers of a model that look alike are written once. And one pipeline,
 * since the device keeps those by their text.
 */
import { ExpressionLines } from "../graph/signature";
import { bindingSlots, type KernelPart, type KernelTensors } from "../kernels/kernel";
import { loweringOf } from "../primitives/definition";
import type { Tensor } from "../tensor";
import type { Cluster } from "./fuse";
import { lower } from "./lower";
import type { CompileTarget } from "./target";

/** A function that lowers clusters for one target, each structure once. */
export function sharedLowering(
  target: CompileTarget,
  lowerOne: typeof lower = lower,
): (cluster: Cluster, tensors: KernelTensors) => KernelPart {
  const known = new Map<string, KernelPart>();
  return (cluster, tensors) => {
    const key = structureOf(cluster, tensors);
    const twin = known.get(key);
    if (twin !== undefined) return { ...twin, slots: bindingSlots(tensors) };
    const part = lowerOne(cluster, tensors, target);
    known.set(key, part);
    return part;
  };
}

/**
 * A text that two clusters share exactly when they compute the same function of what they read, and read, write and
 * replace it in the same order. It names nothing by identity.
 */
function structureOf(
  { size, members, stored }: Cluster,
  { reads, writes, inPlace, isStored, offset }: KernelTensors,
): string {
  const own = new Set(members.map(({ node }) => node));
  const expressions = new ExpressionLines(
    (node) => !own.has(node) && (isStored(node) || loweringOf(node, "leaf") !== undefined),
  );
  const visit = (node: Tensor) => expressions.add(node);
  const list = members.map((member) => {
    const split = member.kind === "loop" ? `/${member.split}` : "";
    return `${member.kind}${split} ${visit(member.node)}${stored.includes(member.node) ? " stored" : ""}`;
  });
  const places = writes.map((node) => {
    const leaf = inPlace.get(node);
    const at = offset?.(node);
    const to = at === undefined ? visit(node) : `${visit(node)} from ${at.key}`;
    return leaf === undefined ? to : `${to} over ${visit(leaf)}`;
  });
  return [...expressions.lines, `${size}: ${list.join()}; ${reads.map(visit).join()}; ${places.join()}`].join("\n");
}
