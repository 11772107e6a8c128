import {
  equationsBetween,
  eye,
  type MapLeaves,
  placeholder,
  pullback,
  pushForward,
  replayBatched,
  sizeOf,
  type Tensor,
  treeUnflatten,
  zeros,
} from "@thalweg/tensor";
import { flattenResult } from "./arguments";
import { selectArguments } from "./grad";

/** Options of {@link jacobian}. */
export interface JacobianOptions<N extends number = number> {
  /** Position of the differentiated argument; default 0. */
  readonly argnums?: N;
  /**
   * `"reverse"` works along the elements of the result, `"forward"` along those of the argument: take the one that
   * has fewer. Default `"reverse"`.
   */
  readonly mode?: "reverse" | "forward";
}

/**
 * All partial derivatives: for every leaf `[…out]` of the result a tree like the argument whose leaves `[…in]` become
 * `[…out, …in]`.
 *
 * @throws DTypeError if a leaf of the argument or of the result is not a float.
 * @example jacobian((x: Tensor) => a.dot(x))(x) // a
 */
export function jacobian<A extends readonly unknown[], R, const N extends number = 0>(
  f: (...args: A) => R,
  options: JacobianOptions<N> = {},
): (...args: A) => MapLeaves<R, Tensor, A[N]> {
  return derivativeBlocks("jacobian", f, options);
}

/** The body of {@link jacobian} and of what is built on it, which name themselves in messages. */
export function derivativeBlocks<A extends readonly unknown[], R, N extends number>(
  operation: string,
  f: (...args: A) => R,
  { argnums, mode = "reverse" }: JacobianOptions<N>,
): (...args: A) => MapLeaves<R, Tensor, A[N]> {
  return (...args) => {
    const { roots, wrapped, rebuild } = selectArguments(operation, argnums ?? 0, args);
    const output = flattenResult(operation, f(...(wrapped as unknown as A)));
    const blocks = mode === "reverse" ? byRows(roots, output.leaves) : byColumns(roots, output.leaves);
    const rows = output.leaves.map((out, row) => {
      const leaves = roots.map((root, column) => blocks[row]?.[column] ?? zeros([...out.shape, ...root.shape], root));
      return rebuild(leaves);
    });
    return treeUnflatten(output.structure, rows) as MapLeaves<R, Tensor, A[N]>;
  };
}

type Block = Tensor | null | undefined;

/** One pullback per leaf of the result, applied to all unit cotangents at once. */
function byRows(roots: readonly Tensor[], outputs: readonly Tensor[]): Block[][] {
  const pull = pullback(roots, outputs);
  return outputs.map((output, row) => {
    const cotangent = placeholder(output.shape, output.dtype);
    const parts = pull(outputs.map((_, index) => (index === row ? cotangent : null)));
    const along = applyToBasis(cotangent, parts);
    return along.map((part, column) => part?.reshape([...output.shape, ...(roots[column] as Tensor).shape]));
  });
}

/** One push-forward per leaf of the argument, applied to all unit tangents at once. */
function byColumns(roots: readonly Tensor[], outputs: readonly Tensor[]): Block[][] {
  const columns = roots.map((root, column) => {
    const tangent = placeholder(root.shape, root.dtype);
    const parts = pushForward(
      roots,
      outputs,
      roots.map((_, index) => (index === column ? tangent : null)),
    );
    return applyToBasis(tangent, parts).map((part, row) => {
      const { rank, shape } = outputs[row] as Tensor;
      const axes = Array.from({ length: rank }, (_, axis) => axis + 1);
      return part?.permute([...axes, 0]).reshape([...shape, ...root.shape]);
    });
  });
  return outputs.map((_, row) => columns.map((column) => column[row]));
}

/** A linear map, given by its values at a placeholder, of every unit vector: `[size, …value]`. */
function applyToBasis(root: Tensor, values: readonly (Tensor | null)[]): (Tensor | null)[] {
  const size = sizeOf(root.shape);
  const basis = eye(size, size, root).reshape([size, ...root.shape]);
  const present = values.filter((value) => value !== null);
  const results = replayBatched(equationsBetween([root], present), [root], present, [basis], size);
  let next = 0;
  return values.map((value) => (value === null ? null : (results[next++] as Tensor | null)));
}
