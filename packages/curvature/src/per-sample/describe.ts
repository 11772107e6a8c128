/** Which form reductions of per-sample gradients take, parameter by parameter. */
import {
  formatPath,
  formatShape,
  identity,
  placeholder,
  sizeOf,
  type Tensor,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";
import { type Use, usesOfParameters } from "../kronecker/uses";
import type { ExampleLoss } from "./per-sample";

/** What the compiler can do about a parameter's gradients for single examples. */
export interface PerSampleForm {
  /** Path of the parameter, joined with dots. */
  readonly name: string;
  /**
   * - `"outerProduct"`: reductions are products of those of inputs and of output gradients; nothing is stored.
   * - `"positions"`: a product over positions that share the weight; large ones are computed for some examples at a time.
   * - `"stored"`: gradients of all examples are in memory while they are reduced.
   */
  readonly form: "outerProduct" | "positions" | "stored";
  /** Positions per example that share the parameter; 1 where there is no sharing. */
  readonly positions: number;
  /** Numbers per example if they are stored. */
  readonly size: number;
  readonly reason: string;
}

/**
 * Looks at the graph of one example. Shapes alone count, so that it is there before the first step.
 *
 * @param examples a tree of tensors with the examples on axis 0.
 */
export function describePerSample<P, E>(loss: ExampleLoss<P, E>, params: P, examples: E): readonly PerSampleForm[] {
  const { leaves, paths, structure } = treeFlatten<Tensor>(params);
  const roots = leaves.map(({ shape, dtype }) => identity(placeholder(shape, dtype)));
  const example = treeMap((x: Tensor) => placeholder(x.shape.slice(1), x.dtype), examples) as E;
  const value = loss(treeUnflatten(structure, roots) as P, example);
  const { uses } = usesOfParameters(roots, treeLeaves<Tensor>(example), [value]);
  return leaves.map(({ shape, size }, index) => {
    const own = uses.filter(({ parameter }) => parameter === index);
    return { name: formatPath(paths[index] ?? []), size, ...formOf(own, shape) };
  });
}

function formOf(uses: readonly Use[], shape: readonly number[]): Pick<PerSampleForm, "form" | "positions" | "reason"> {
  const [use] = uses;
  if (use === undefined) return { form: "stored", positions: 1, reason: "the loss does not depend on it: zeros" };
  if (uses.length > 1) {
    return {
      form: "stored",
      positions: 1,
      reason: `a sum over ${uses.length} uses, of which squares do not come apart`,
    };
  }
  if (use.kind !== "linear") {
    const how = use.kind === "other" ? use.operation : use.kind;
    return { form: "stored", positions: 1, reason: `used by ${how}: ${formatShape(shape)} for each example` };
  }
  // What is neither a group nor a feature of the input is a position.
  const { activations, params, side } = use;
  const other = (1 - side) as 0 | 1;
  const taken = [...params.batch[other], ...params.contract[other]];
  const positions = sizeOf(activations.shape.filter((_, axis) => !taken.includes(axis)));
  return positions === 1
    ? { form: "outerProduct", positions, reason: "one product of an input and an output gradient" }
    : { form: "positions", positions, reason: `a sum of ${positions} products` };
}
