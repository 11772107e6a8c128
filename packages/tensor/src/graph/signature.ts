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

/**
 * Expressions down to what is read. Two lists of lines are equal exactly when the expressions are the same functions of what
 * they read, nodes that several of them share included. They name nothing by identity.
 */
export class ExpressionLines {
  readonly lines: string[] = [];
  readonly #isRead: (node: Tensor) => boolean;
  readonly #numbers = new Map<Tensor, number>();

  /** @param isRead where expressions end. */
  constructor(isRead: (node: Tensor) => boolean) {
    this.#isRead = isRead;
  }

  /** The number of the node's line. */
  add(node: Tensor): number {
    const before = this.#numbers.get(node);
    if (before !== undefined) return before;
    const { dtype, shape, primitive, inputs, params } = node;
    const how = this.#isRead(node)
      ? "read"
      : `${primitive.name}(${inputs.map((input) => this.add(input))})${describeParams(params)}`;
    const number = this.lines.push(`${how}:${dtype}[${shape}]`) - 1;
    this.#numbers.set(node, number);
    return number;
  }
}
