import {
  ArgumentError,
  type Tensor,
  type Tree,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeMap,
} from "@thalweg/tensor";

/** Plain objects and arrays of tensors; `null` stands for what is left out. */
export type TensorTree = Tree<Tensor>;

/** `fn` of the corresponding tensors of trees of one structure. */
export function mapTensors(fn: (...tensors: Tensor[]) => Tensor, ...trees: readonly TensorTree[]): TensorTree {
  return (treeMap as (fn: unknown, ...trees: readonly unknown[]) => TensorTree)(fn, ...trees);
}

/** One parameter as masks, labels and rules see it. */
export interface ParameterInfo {
  /** Keys from the root: `["conv1", "kernel"]`. */
  readonly path: TreePath;
  readonly shape: readonly number[];
}

/** Decides for one parameter. */
export type ParameterPredicate = (parameter: ParameterInfo) => boolean;

/** What is known about the parameters of a tree, in the order of its leaves. */
export function describeParameters(params: TensorTree): ParameterInfo[] {
  const { leaves, paths } = treeFlatten<Tensor>(params);
  return leaves.map(({ shape }, index) => ({ path: paths[index] as TreePath, shape }));
}

/** Zeros like every tensor, f32. */
export const treeZeros = (tree: TensorTree): TensorTree => treeFull(tree, 0);

/** One value in every element of every tensor, f32. */
export const treeFull = (tree: TensorTree, value: number): TensorTree =>
  mapTensors((x) => x.cast("f32").fullLike(value), tree);

/**
 * The sum of the squares of all elements: scalar, f32. Each tensor is summed on its own, then the sums in leaf order, so
 * that the result is the same in every run.
 */
export function treeSquaredNorm(tree: unknown): Tensor {
  const [first, ...rest] = treeLeaves<Tensor>(tree).map((x) => x.cast("f32").square().sum());
  if (first === undefined) throw new ArgumentError("treeSquaredNorm: the tree has no tensor. Give at least one.");
  return rest.reduce((sum, next) => sum.add(next), first);
}

/** The Euclidean norm of all elements together: scalar, f32. */
export const treeNorm = (tree: unknown): Tensor => treeSquaredNorm(tree).sqrt();
