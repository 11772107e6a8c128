/** Curvature that adds up over batches, and the precision that it makes in the end. */
import {
  concat,
  full,
  type Key,
  type Tensor,
  type Tree,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
} from "@thalweg/tensor";
import type { Factors } from "../kronecker/factors";
import { kroneckerCurvature } from "../kronecker/kronecker-curvature";
import type { FisherKind } from "../kronecker/vectors";
import { type Batch, batchSize, type CurvatureProblem } from "../problem";
import { ggnDiagonal, ggnSquareRoot } from "../square-root";
import { kroneckerPrecision, type LaplaceDampingRule } from "./kronecker-precision";
import { densePrecision, diagonalPrecision, functionalPrecision, type Precision } from "./precision";
import type { Uncertain } from "./uncertain";

/**
 * What the curvature is kept as: one matrix, its diagonal, Kronecker products, or (`"functional"`) the kernel of a Gaussian
 * process over the training outputs: the same posterior as `"full"`, at the cost of the data's size instead of the
 * parameters'.
 */
export type LaplaceStructure = "full" | "diagonal" | "kronecker" | "functional";

export interface SumsOptions {
  readonly structure: LaplaceStructure;
  readonly bias: "joint" | "separate";
  readonly fisher: Exclude<FisherKind, "forward">;
  readonly draws: number;
  readonly dampingRule: LaplaceDampingRule;
}

/** Positions of a weight and of the bias that has its δ. */
export interface JointTensors {
  readonly weight: number;
  readonly bias: number;
}

/** Something of several batches as one: sums, or for roots rows below one another. */
export interface Sums<X> {
  /** Of one batch. @param mask Which positions of an example count, as in `KroneckerOptions`. */
  of(
    problem: CurvatureProblem<Uncertain, X>,
    uncertain: Uncertain,
    batch: Batch<X>,
    random: { readonly key?: Key; readonly mask?: (example: X) => Tensor; readonly counted?: Tensor },
  ): Tree<Tensor>;
  combine(parts: readonly Tree<Tensor>[]): Tree<Tensor>;
  precision(sums: Tree<Tensor>): Precision;
  /** What is kept of which parameters, one line each. */
  describe(): string[];
  /** Biases that share the block of a weight, and so its δ: positions among the uncertain tensors. */
  readonly joint: readonly JointTensors[];
}

function added(parts: readonly Tree<Tensor>[]): Tree<Tensor> {
  const { structure } = treeFlatten<Tensor>(parts[0]);
  const lists = parts.map((part) => treeLeaves<Tensor>(part));
  const [first, ...rest] = lists as [Tensor[], ...Tensor[][]];
  const sums = first.map((leaf, index) => rest.reduce((sum, list) => sum.add(list[index] as Tensor), leaf));
  return treeUnflatten(structure, sums) as Tree<Tensor>;
}

/** Flat rows `[N K, n]` of all leaves `[N, K, …]`. */
const rowsOf = (root: Tensor): Tensor =>
  root.reshape([(root.shape[0] as number) * (root.shape[1] as number), ...root.shape.slice(2)]);

/**
 * @param problem, `uncertain` and `batch` are looked at for their shapes.
 */
export function sumsOf<X>(
  problem: CurvatureProblem<Uncertain, X>,
  uncertain: Uncertain,
  batch: Batch<X>,
  { structure, bias, fisher, draws, dampingRule }: SumsOptions,
): Sums<X> {
  const { leaves, paths } = treeFlatten<Tensor>(uncertain);
  const names = paths.map(([name]) => name as string);
  const shapes = leaves.map(({ shape }) => shape);
  const each = (what: string): string[] => names.map((name, index) => `${name}: ${what} of ${leaves[index]?.size}`);
  const root = { fisher, count: draws };
  switch (structure) {
    case "diagonal":
      return {
        of: (own, at, part, { key }) =>
          treeLeaves<Tensor>(ggnDiagonal(own, at, part, { ...root, ...(key && { key }) })),
        combine: added,
        precision: (sums) => diagonalPrecision(sums as Tensor[]),
        describe: () => each("diagonal"),
        joint: [],
      };
    case "full":
      return {
        of(own, at, part, { key }) {
          const roots = treeLeaves<Tensor>(ggnSquareRoot(own, at, part, { ...root, ...(key && { key }) }));
          const all = concat(
            roots.map((x) => rowsOf(x).reshape([(x.shape[0] as number) * (x.shape[1] as number), -1])),
            { axis: 1 },
          );
          return all.transpose().matmul(all);
        },
        combine: added,
        precision: (sums) => densePrecision(sums as Tensor, shapes),
        describe: () => each("part of one matrix, rows"),
        joint: [],
      };
    case "functional":
      return {
        of: (own, at, part, { key }) =>
          treeLeaves<Tensor>(ggnSquareRoot(own, at, part, { ...root, ...(key && { key }) })).map(rowsOf),
        combine: (parts) =>
          shapes.map((_, index) =>
            concat(
              parts.map((part) => (part as Tensor[])[index] as Tensor),
              { axis: 0 },
            ),
          ),
        precision: (sums) => functionalPrecision(sums as Tensor[]),
        describe: () => each("functional, columns of the root"),
        joint: [],
      };
    case "kronecker": {
      const shapeOnly = kroneckerCurvature(problem, uncertain, batch, { fisher, draws });
      return {
        of(own, at, part, { key, mask, counted }) {
          const curvature = kroneckerCurvature(own, at, part, { fisher, draws, ...(mask && { mask }) });
          const { factors } = curvature.evaluate(at, part, key === undefined ? {} : { key });
          // A is an average over the batch, B a sum: what was counted weighs the one, and the other adds up.
          const count = counted ?? full([], batchSize("laplace", part));
          return { count, factors: weighted(factors, (a) => count.greater(0).where(a.mul(count), 0)) } as Tree<Tensor>;
        },
        combine: added,
        precision(sums) {
          const { count, factors } = sums as unknown as { count: Tensor; factors: Factors };
          return kroneckerPrecision(
            shapeOnly.blocks,
            weighted(factors, (a) => a.div(count)),
            bias,
            dampingRule,
          );
        },
        describe: () => shapeOnly.report().split("\n"),
        joint: shapeOnly.blocks.flatMap((block) =>
          bias === "joint" && block.kind === "kronecker" && block.bias !== undefined
            ? [{ weight: block.weight.index, bias: block.bias.index }]
            : [],
        ),
      };
    }
  }
}

/** Factors with something else in place of every A. */
const weighted = (factors: Factors, change: (a: Tensor) => Tensor): Factors =>
  Object.fromEntries(
    Object.entries(factors).map(([name, own]) => [name, "a" in own ? { ...own, a: change(own.a) } : own]),
  );
