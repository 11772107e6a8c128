/** Random tensors, and the numbers of trees of tensors. */
import { evaluate, key, normal, type Tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";

export type Params = Readonly<Record<string, Tensor>>;

export const random = (seed: number, shape: readonly number[]): Tensor => normal(key(seed), shape);

/** Of each leaf, in float64. */
export const numbers = (tree: unknown): number[][] =>
  evaluateReference(treeLeaves<Tensor>(tree)).map(({ values }) => Array.from(values));

/** Of all leaves one after the other, in float64. */
export const allNumbers = (...trees: readonly unknown[]): number[] => numbers(trees).flat();

/** Of each leaf, as the device has them. */
export async function deviceNumbers(tree: unknown): Promise<number[][]> {
  const leaves = treeLeaves<Tensor>(tree);
  await evaluate(leaves);
  return Promise.all(leaves.map(async (leaf) => Array.from(await leaf.data())));
}

export const norm = (values: readonly number[]): number => Math.hypot(...values);

/** @throws RangeError unless there are as many of both. */
export function distance(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) throw new RangeError(`distance: ${a.length} numbers and ${b.length}.`);
  return norm(a.map((value, index) => value - (b[index] as number)));
}
