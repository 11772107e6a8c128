import type { Tensor } from "../tensor";
import { topologicalOrder } from "./visit";

/** The node whose elements these are: aliases are looked through. */
export function withoutAliases(node: Tensor): Tensor {
  let found = node;
  while (found.primitive.lowering.kind === "alias") found = found.inputs[0] as Tensor;
  return found;
}

/**
 * A text that two graphs share exactly when they compute the same function of their leaves, and the leaves in the order
 * in which the text names them. It depends on nothing but structure: not on identity, not on time.
 */
export function graphSignature(outputs: readonly Tensor[]): {
  readonly key: string;
  readonly leaves: readonly Tensor[];
} {
  const numbers = new Map<Tensor, number>();
  const leaves: Tensor[] = [];
  const lines: string[] = [];
  for (const node of topologicalOrder(outputs)) {
    const { lowering, name } = node.primitive;
    if (lowering.kind === "alias") {
      numbers.set(node, numbers.get(node.inputs[0] as Tensor) as number);
      continue;
    }
    numbers.set(node, lines.length);
    if (lowering.kind === "leaf") {
      leaves.push(node);
      lines.push(`leaf ${node.dtype}[${node.shape}]`);
    } else {
      const inputs = node.inputs.map((input) => numbers.get(input)).join();
      lines.push(`${name}(${inputs})${describeParams(node.params)}:${node.dtype}[${node.shape}]`);
    }
  }
  lines.push(outputs.map((output) => numbers.get(output)).join());
  return { key: lines.join("\n"), leaves };
}

/** Parameters as text; numbers that JSON would turn into null keep their names. */
export const describeParams = (params: unknown): string =>
  params === undefined
    ? ""
    : JSON.stringify(params, (_name, value: unknown) =>
        typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))
          ? `number ${Object.is(value, -0) ? "-0" : value}`
          : value,
      );
