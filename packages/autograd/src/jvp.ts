import { identity, pushForward, type Tensor, treeUnflatten } from "@thalweg/tensor";
import { flattenLike, flattenResult, flattenTensors, nameArgument, requireFloatArguments } from "./arguments";

/**
 * The value of `f` and its derivative along a direction (forward mode).
 *
 * @param primals the arguments of `f`, all differentiated; close over what shall stay constant.
 * @param tangents trees like the primals: the direction.
 * @returns `[result, tangent]`, both like the result of `f`.
 * @throws DTypeError if a leaf of an argument or of the result is not a float.
 * @example const [y, dy] = jvp((x: Tensor) => x.sin(), [x], [v]);
 */
export function jvp<A extends readonly unknown[], R>(
  f: (...args: A) => R,
  primals: readonly [...A],
  tangents: readonly [...A],
): [result: R, tangent: R] {
  return differentiateAlong("jvp", f, primals, tangents);
}

/** The body of {@link jvp} and of what is built on it, which name themselves in messages. */
export function differentiateAlong<A extends readonly unknown[], R>(
  operation: string,
  f: (...args: A) => R,
  primals: readonly [...A],
  tangents: readonly [...A],
): [result: R, tangent: R] {
  const primal = flattenTensors(operation, primals, nameArgument);
  requireFloatArguments(operation, primal, "Close over it instead.");
  const direction = flattenLike(operation, "tangents", tangents, primal, nameArgument);
  const roots = primal.leaves.map(identity);
  const result = f(...(treeUnflatten(primal.structure, roots) as A));
  const output = flattenResult(operation, result);
  const found = pushForward(roots, output.leaves, direction);
  const filled = found.map((tangent, index) => tangent ?? (output.leaves[index] as Tensor).zerosLike());
  return [result, treeUnflatten(output.structure, filled) as R];
}
