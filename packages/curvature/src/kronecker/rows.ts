/** Activations and gradients of a layer as rows: positions by features, for every group. */
import { sizeOf, type Tensor } from "@thalweg/tensor";
import type { TapAxes } from "./blocks";

const extentOf = (x: Tensor, axes: readonly number[]): number => sizeOf(axes.map((axis) => x.shape[axis] as number));

/** `[…leading, groups, positions, features]`. @param leading how many axes in front belong to no layer. */
export function inRows(x: Tensor, { groups, features, shared }: TapAxes, leading: number): Tensor {
  const first = Array.from({ length: leading }, (_, axis) => axis);
  return x
    .permute([...first, ...groups, ...shared, ...features])
    .reshape([...x.shape.slice(0, leading), extentOf(x, groups), extentOf(x, shared), extentOf(x, features)]);
}

/** The inverse of {@link inRows}, with axes in front that `like` lacks: `[…leading, …like]`. */
export function fromRows(rows: Tensor, { groups, features, shared }: TapAxes, like: Tensor): Tensor {
  const leading = rows.shape.slice(0, -3);
  const order = [...groups, ...shared, ...features];
  const back = order.map((_, axis) => leading.length + order.indexOf(axis));
  return rows
    .reshape([...leading, ...order.map((axis) => like.shape[axis] as number)])
    .permute([...leading.map((_, axis) => axis), ...back]);
}
