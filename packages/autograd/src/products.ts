import type { Tensor } from "@thalweg/tensor";
import { differentiate } from "./grad";
import { differentiateAlong } from "./jvp";

/**
 * The Hessian of a scalar function times a direction, without the Hessian: forward over reverse mode, at a small
 * multiple of the cost of a gradient.
 *
 * @param f a function of the primal and of `others` that returns a scalar.
 * @param primal the tree that is differentiated twice.
 * @param direction a tree like the primal.
 * @param others further arguments of `f`, constant here.
 * @returns a tree like the primal.
 * @throws ShapeError if `f` does not return a scalar.
 * @example hvp(loss, params, direction, batch)
 */
export function hvp<P, Others extends readonly unknown[]>(
  f: (primal: P, ...others: Others) => Tensor,
  primal: P,
  direction: P,
  ...others: Others
): P {
  const gradient = (at: P): P => differentiate("hvp", f, {}, [at, ...others]).gradients as P;
  const [, product] = differentiateAlong("hvp", gradient, [primal], [direction]);
  return product;
}
