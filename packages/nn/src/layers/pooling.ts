import {
  type AveragePoolOptions,
  averagePool as averagePoolOf,
  type MaxPoolOptions,
  maxPool as maxPoolOf,
  type Tensor,
} from "@thalweg/tensor";

/** Max pooling as a layer: `[batch, …spatial, c]` to `[batch, …windows, c]`. See `maxPool` of `@thalweg/tensor`. */
export const maxPool =
  (options: MaxPoolOptions) =>
  (x: Tensor): Tensor =>
    maxPoolOf(x, options);

/** Average pooling as a layer: `[batch, …spatial, c]` to `[batch, …windows, c]`. See `averagePool` of `@thalweg/tensor`. */
export const averagePool =
  (options: AveragePoolOptions) =>
  (x: Tensor): Tensor =>
    averagePoolOf(x, options);

/** All axes but the first become one: `[batch, …]` to `[batch, features]`. */
export const flatten = (x: Tensor): Tensor => x.reshape([x.shape[0] ?? 1, x.shape.slice(1).reduce((a, b) => a * b, 1)]);
