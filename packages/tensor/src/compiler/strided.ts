/** Views that are a plain grid of another tensor: what kernels written by hand can read without a copy. */
import { loweringOf } from "../primitives/definition";
import type { Tensor } from "../tensor";
import { type Index, linearFactor, linearize, variableIndex } from "../view";

export interface StridedView {
  /** The tensor in memory. */
  readonly base: Tensor;
  /** Element c of the view is element `offset + Σ strides · c` of the base. */
  readonly offset: number;
  readonly strides: readonly number[];
}

/**
 * The node as a strided view of the nearest tensor that is in memory or is not a movement; undefined where the way there
 * is not linear, fills in elements that do not exist, or (unless `signed`) runs backwards.
 */
export function stridedView(
  node: Tensor,
  isStored: (node: Tensor) => boolean,
  { signed = false }: { readonly signed?: boolean } = {},
): StridedView | undefined {
  const variables = node.shape.map((extent, axis) => ({ name: `axis${axis}`, extent }));
  let at: readonly Index[] = variables.map(({ name, extent }) => variableIndex(name, 0, Math.max(0, extent - 1)));
  let base = node;
  for (;;) {
    const movement = isStored(base) ? undefined : loweringOf(base, "movement");
    if (movement === undefined) break;
    const input = base.inputs[0] as Tensor;
    const { coordinates, guards } = movement.move(at, input.shape, base.params);
    if (guards.some((guard) => guard !== undefined)) return undefined;
    at = coordinates;
    base = input;
  }
  const position = linearize(at, base.shape);
  const strides = variables.map(({ name }) => linearFactor(position, name));
  const isGrid = strides.every((stride) => stride !== undefined && (signed || stride >= 0));
  if (position.constant < 0 || !isGrid) return undefined;
  return { base, offset: position.constant, strides: strides as number[] };
}
