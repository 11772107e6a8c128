import { identity, pullback, type Tensor, treeUnflatten } from "@thalweg/tensor";
import {
  flattenLike,
  flattenResult,
  flattenTensors,
  nameArgument,
  nameResult,
  requireFloatArguments,
} from "./arguments";

/**
 * The value of `f` and the map from cotangents of its result to cotangents of its arguments (reverse mode).
 *
 * The map may be called any number of times, later, and inside of other transformations. Everything in `primals` is
 * differentiated; close over what shall stay constant.
 *
 * @returns `[result, pull]`; `pull(cotangents)` takes a tree like the result and gives one cotangent tree per argument.
 * Arguments that the result does not depend on get zeros.
 * @throws DTypeError if a leaf of an argument or of the result is not a float.
 * @example const [y, pull] = vjp((w: Tensor) => x.dot(w), w0); const [dw] = pull(y.onesLike());
 */
export function vjp<A extends readonly unknown[], R>(
  f: (...args: A) => R,
  ...primals: A
): [result: R, pull: (cotangents: R) => A] {
  const primal = flattenTensors("vjp", primals, nameArgument);
  requireFloatArguments("vjp", primal, "Close over it instead.");
  const roots = primal.leaves.map(identity);
  const result = f(...(treeUnflatten(primal.structure, roots) as A));
  const output = flattenResult("vjp", result);
  const pull = pullback(roots, output.leaves);
  return [
    result,
    (cotangents) => {
      const found = pull(flattenLike("vjp", "cotangents", cotangents, output, nameResult));
      const filled = found.map((cotangent, index) => cotangent ?? (roots[index] as Tensor).zerosLike());
      return treeUnflatten(primal.structure, filled) as A;
    },
  ];
}
