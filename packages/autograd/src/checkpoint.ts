import { placeholder, recompute, Tensor, treeFlatten, treeUnflatten } from "@thalweg/tensor";
import { flattenTensors, nameResult } from "./arguments";

/**
 * `f` with an interior that reverse mode computes again instead of keeping: memory for arithmetic.
 *
 * Of a checkpointed function, the backward pass keeps the arguments and what `f` closes over; the rest is computed a
 * second time when its cotangent has arrived. A chain of n layers in groups of √n keeps about 2√n activations instead of
 * n, for one more forward pass. Values and derivatives of every order are the same. Inside of `scan` the interior of
 * the checkpointed part is not stacked over the iterations.
 *
 * `f` is traced on arguments without elements; it must not read them.
 *
 * @throws ArgumentError if a leaf of the result is no tensor.
 * @see Griewank and Walther (2000); Chen et al. (2016), "Training deep nets with sublinear memory cost"
 * @example const block = checkpoint((p: Params, x: Tensor) => attention(p.attention, mlp(p.mlp, x)));
 */
export function checkpoint<A extends readonly unknown[], R>(f: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    const { leaves, structure } = treeFlatten<unknown>(args);
    const inputs = leaves.filter((leaf) => leaf instanceof Tensor);
    const inside = inputs.map(({ shape, dtype }) => placeholder(shape, dtype));
    let next = 0;
    const traced = leaves.map((leaf) => (leaf instanceof Tensor ? inside[next++] : leaf));
    const output = flattenTensors("checkpoint", f(...(treeUnflatten(structure, traced) as A)), nameResult);
    return treeUnflatten(output.structure, recompute(inside, inputs, output.leaves)) as R;
  };
}
