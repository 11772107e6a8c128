import { ArgumentError, type Tensor } from "@thalweg/tensor";
import { constant } from "../constant";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface ProjectionOptions {
  /** Default: no lower limit. */
  readonly min?: number;
  /** Default: no upper limit. */
  readonly max?: number;
}

/**
 * Keeps parameters in a box: changes updates so that the new parameters are the nearest ones in it, to a rounding of the
 * parameter. It stands last in a chain; `project({ min: 0 })` keeps parameters from becoming negative.
 *
 * @throws ArgumentError without limit, or if they cross.
 */
export function project({ min, max }: ProjectionOptions): GradientTransformation {
  const name = "project";
  if (min === undefined && max === undefined)
    throw new ArgumentError("project: there is no limit. Give min, max or both.");
  if (min !== undefined && max !== undefined && min > max) {
    throw new ArgumentError(`project: min ${min} is above max ${max}. Swap them.`);
  }
  return transformation({
    name,
    constants: [
      ...(min === undefined ? [] : [constant(name, "min", min, {})]),
      ...(max === undefined ? [] : [constant(name, "max", max, {})]),
    ],
    update: (updates, buffers, { params, constant: numbers }) => {
      const [low] = min === undefined ? [] : numbers("min");
      const [high] = max === undefined ? [] : numbers("max");
      const inBox = (x: Tensor): Tensor => {
        const raised = low === undefined ? x : x.maximum(low);
        return high === undefined ? raised : raised.minimum(high);
      };
      return [mapTensors((u, x) => inBox(x.add(u)).sub(x), updates, params), buffers];
    },
  });
}
