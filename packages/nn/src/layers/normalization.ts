import {
  ArgumentError,
  formatShape,
  full,
  isFloat,
  moments,
  ShapeError,
  sameShape,
  sizeOf,
  standardize,
  type Tensor,
} from "@thalweg/tensor";
import { defineLayer, defineStateless, describe, type Layer, type Nothing, namedRoles } from "../module";

/** Learned scale and offset of a normalization, starting at 1 and 0. */
export type NormParams = { readonly scale: Tensor; readonly bias: Tensor };

const roles = namedRoles({ scale: "norm", bias: "norm" });

const affineParams = (x: Tensor, shape: readonly number[]): NormParams => {
  const dtype = isFloat(x.dtype) ? x.dtype : "f32";
  return { scale: full(shape, 1, { dtype }), bias: full(shape, 0, { dtype }) };
};

const affine = (x: Tensor, { scale, bias }: NormParams): Tensor => x.mul(scale).add(bias);

function checkParams(layer: string, x: Tensor, { scale }: NormParams, expected: readonly number[]): void {
  if (sameShape(scale.shape, expected)) return;
  throw new ShapeError(
    `${layer}: input ${formatShape(x.shape)} does not fit scale ${formatShape(scale.shape)} ` +
      `(expected ${formatShape(expected)})`,
  );
}

export interface LayerNormOptions {
  /** How many axes, from the last, are normalized together; PyTorch's `normalized_shape` has so many. Default 1. */
  readonly axes?: number;
  /** Added to the variance. Default 1e-5. */
  readonly epsilon?: number;
}

/**
 * `(x - mean) / sqrt(variance + epsilon) · scale + bias`, mean and biased variance over the last axes of each example.
 *
 * Parameters: `scale` and `bias` with the extents of those axes.
 *
 * @see Ba, Kiros and Hinton, Layer normalization (2016)
 */
export function layerNorm({ axes = 1, epsilon = 1e-5 }: LayerNormOptions = {}): Layer<NormParams, Nothing> {
  return defineStateless<NormParams>({
    kind: "layerNorm",
    init(_key, x, path) {
      if (!Number.isInteger(axes) || axes < 1 || axes > x.rank) {
        throw new ArgumentError(
          `${describe("layerNorm", path)}: ${axes} axes of ${formatShape(x.shape)} cannot be normalized. ` +
            `Give 1 to ${x.rank}.`,
        );
      }
      return affineParams(x, x.shape.slice(-axes));
    },
    roles,
    forward(params, x, { path }) {
      checkParams(describe("layerNorm", path), x, params, x.shape.slice(-axes));
      const last = Array.from({ length: axes }, (_, index) => x.rank - axes + index);
      return affine(standardize(x, { axis: last, epsilon }), params);
    },
  });
}

export interface GroupNormOptions {
  /** Number of groups of channels; 1 is layer norm over everything, as many as channels is instance norm. */
  readonly groups: number;
  /** Added to the variance. Default 1e-5. */
  readonly epsilon?: number;
}

/**
 * Normalizes each example over space and the channels of a group: `[batch, …spatial, c]`.
 *
 * Parameters: `scale` `[c]`, `bias` `[c]`.
 *
 * @see Wu and He, Group normalization (ECCV 2018)
 */
export function groupNorm({ groups, epsilon = 1e-5 }: GroupNormOptions): Layer<NormParams, Nothing> {
  return defineStateless<NormParams>({
    kind: "groupNorm",
    init(_key, x, path) {
      const channels = x.shape.at(-1) ?? 0;
      if (x.rank < 2 || !Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
        throw new ShapeError(
          `${describe("groupNorm", path)}: ${groups} groups do not divide the channels of input ${formatShape(x.shape)}. ` +
            "Give [batch, …, channels] and a divisor of the channels.",
        );
      }
      return affineParams(x, [channels]);
    },
    roles,
    forward(params, x, { path }) {
      checkParams(describe("groupNorm", path), x, params, x.shape.slice(-1));
      const [batch = 1, ...rest] = x.shape;
      const channels = x.shape.at(-1) as number;
      const grouped = x.reshape([batch, sizeOf(rest.slice(0, -1)), groups, channels / groups]);
      return affine(standardize(grouped, { axis: [1, 3], epsilon }).reshape(x.shape), params);
    },
  });
}

export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly epsilon?: number;
  /**
   * How much of the running statistics is kept in a step: `running = decay · running + (1 - decay) · batch`. Keras,
   * TensorFlow and Flax call this number momentum; PyTorch calls `1 - decay` momentum. Default 0.9, PyTorch's 0.1.
   */
  readonly decay?: number;
}

/** Running statistics of the channels. */
export type BatchNormState = { readonly mean: Tensor; readonly variance: Tensor };

/**
 * Normalizes every channel over batch and space: `[batch, …spatial, c]`.
 *
 * In training by the mean and the biased variance of the batch; in evaluation by running averages of the mean and of the
 * unbiased variance (divided by n - 1), which `applyWithState` moves in training. They are constants for derivatives.
 *
 * Parameters: `scale` `[c]`, `bias` `[c]`. State: `mean` `[c]` from 0, `variance` `[c]` from 1.
 *
 * @throws ArgumentError in evaluation without `state`.
 * @see Ioffe and Szegedy, Batch normalization (ICML 2015)
 */
export function batchNorm({ epsilon = 1e-5, decay = 0.9 }: BatchNormOptions = {}): Layer<NormParams, BatchNormState> {
  return defineLayer<NormParams, BatchNormState>({
    kind: "batchNorm",
    init(_key, x, path) {
      const channels = x.shape.at(-1);
      if (channels === undefined || x.rank < 2) {
        throw new ShapeError(
          `${describe("batchNorm", path)}: input ${formatShape(x.shape)} has no batch axis. Give [batch, …, channels].`,
        );
      }
      return affineParams(x, [channels]);
    },
    initState(x) {
      const { scale, bias } = affineParams(x, x.shape.slice(-1));
      return { mean: bias, variance: scale };
    },
    roles,
    forward(params, state, x, { train, path }) {
      const layer = describe("batchNorm", path);
      checkParams(layer, x, params, x.shape.slice(-1));
      if (!train) {
        if (state?.mean === undefined) {
          throw new ArgumentError(
            `${layer}: evaluation needs the running statistics. Pass state: model.initState({ shape }) or what ` +
              "applyWithState returned, or set train: true.",
          );
        }
        const scale = params.scale.mul(state.variance.add(epsilon).rsqrt());
        return [x.sub(state.mean).mul(scale).add(params.bias), state];
      }
      const axis = Array.from({ length: x.rank - 1 }, (_, own) => own);
      const { mean, variance } = moments(x, { axis });
      const output = affine(x.sub(mean).mul(variance.add(epsilon).rsqrt()), params);
      // Applied without state: there is nothing to move.
      if (state?.mean === undefined) return [output, {} as BatchNormState];
      const count = x.size / (x.shape.at(-1) as number);
      const next = {
        mean: moved(state.mean, mean.reshape(state.mean.shape), decay),
        variance: moved(
          state.variance,
          variance.reshape(state.variance.shape).mul(count / Math.max(1, count - 1)),
          decay,
        ),
      };
      return [output, next];
    },
  });
}

const moved = (running: Tensor, batch: Tensor, decay: number): Tensor =>
  running.mul(decay).add(batch.stopGradient().mul(1 - decay));
