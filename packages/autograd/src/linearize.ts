import {
  equationsBetween,
  identity,
  placeholder,
  pushForward,
  replay,
  type Tensor,
  treeUnflatten,
} from "@thalweg/tensor";
import { flattenLike, flattenResult, flattenTensors, nameArgument, requireFloatArguments } from "./arguments";

/**
 * The value of `f` and its derivative as a linear map of the tangents. Cheaper than {@link jvp} for several directions
 * at one point: the map holds the linear part only and reuses what `f` computed.
 *
 * @returns `[result, push]`; `push(...tangents)` takes trees like the arguments and gives a tangent like the result.
 * @throws DTypeError if a leaf of an argument or of the result is not a float.
 */
export function linearize<A extends readonly unknown[], R>(
  f: (...args: A) => R,
  ...primals: A
): [result: R, push: (...tangents: A) => R] {
  const primal = flattenTensors("linearize", primals, nameArgument);
  requireFloatArguments("linearize", primal, "Close over it instead.");
  const roots = primal.leaves.map(identity);
  const result = f(...(treeUnflatten(primal.structure, roots) as A));
  const output = flattenResult("linearize", result);
  const directions = roots.map(({ shape, dtype }) => placeholder(shape, dtype));
  const tangents = pushForward(roots, output.leaves, directions);
  const filled = tangents.map((tangent, index) => tangent ?? (output.leaves[index] as Tensor).zerosLike());
  // Noted here, not on the call: by then the result and what it was made of may have been realised.
  const equations = equationsBetween(directions, filled);
  return [
    result,
    (...given) => {
      const values = flattenLike("linearize", "tangents", given, primal, nameArgument);
      return treeUnflatten(output.structure, replay(equations, directions, filled, values)) as R;
    },
  ];
}
