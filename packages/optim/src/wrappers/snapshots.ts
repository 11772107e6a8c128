import { full, type Tensor, tensor } from "@thalweg/tensor";
import { checkSteps } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface SwaOptions {
  /** Steps before the first point that counts. Default 0. */
  readonly start?: number;
  /** Steps between points that count. Default 1. */
  readonly every?: number;
}

/**
 * Keeps the mean of points of training, at which the model is to be evaluated: those after `start`, `start + every`, …
 * steps. Training goes on as without it. It stands last in a chain. Batch-norm statistics belong to the point of training,
 * not to the mean: compute them anew before evaluating.
 *
 * @see Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018
 */
export function swa({ start = 0, every = 1 }: SwaOptions = {}): GradientTransformation {
  checkSteps("swa: start", start);
  checkSteps("swa: every", every, 1);
  return transformation<{ readonly mean: TensorTree; readonly count: Tensor }>({
    name: "swa",
    init: (params) => ({ mean: copyOf(params), count: full([], 0) }),
    update(updates, { mean, count }, { params, step }) {
      const counts = isPoint(step.add(1), { start, every });
      const next = counts.where(count.add(1), count);
      const share = counts.where(next.maximum(1).reciprocal(), 0);
      const moved = mapTensors((a, x, u) => a.add(x.add(u).sub(a).mul(share)), mean, params, updates);
      return [updates, { mean: moved, count: next }];
    },
    evalParams: ({ mean, count }, { params }) => {
      const isEmpty = count.equal(0);
      return mapTensors((a, x) => isEmpty.where(x, a), mean, params);
    },
  });
}

/** Is the point after so many steps one of those after `start`, `start + every`, … steps? @param done u32 scalar. */
export const isPoint = (done: Tensor, { start, every }: Required<SwaOptions>): Tensor =>
  done.greaterEqual(start).and(done.maximum(start).sub(start).rem(every).equal(0));

/** A queue as a ring: where `isDue`, the tree number `count` takes the place of the oldest one. @param count u32 scalar. */
export const enqueue = (
  queue: readonly TensorTree[],
  { isDue, count }: { readonly isDue: Tensor; readonly count: Tensor },
  next: TensorTree,
): readonly TensorTree[] => {
  const place = count.rem(queue.length);
  return queue.map((own, index) => {
    const isHere = isDue.and(place.equal(index));
    return mapTensors((old, x) => isHere.where(x, old), own, next);
  });
};

export interface LawaOptions {
  /** Points in the queue, at least 1. */
  readonly length: number;
  /** Steps between points. Default 1. */
  readonly every?: number;
}

/**
 * Keeps the last points of training in a queue; the model is to be evaluated at their mean. It stands last in a chain.
 *
 * @see Kaddour, Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging, 2022
 */
export function lawa({ length, every = 1 }: LawaOptions): GradientTransformation {
  checkSteps("lawa: length", length, 1);
  checkSteps("lawa: every", every, 1);
  return transformation<{ readonly points: readonly TensorTree[]; readonly count: Tensor }>({
    name: "lawa",
    init: (params) => ({
      points: Array.from({ length }, () => treeZeros(params)),
      count: tensor(Uint32Array.of(0), { shape: [] }),
    }),
    update(updates, { points, count }, { params, step }) {
      const isDue = step.add(1).rem(every).equal(0);
      const point = mapTensors((x, u) => x.add(u), params, updates);
      return [updates, { points: enqueue(points, { isDue, count }, point), count: isDue.where(count.add(1), count) }];
    },
    evalParams: ({ points, count }, { params }) => {
      const share = count.minimum(length).maximum(1).cast("f32").reciprocal();
      const sum = points.reduce((total, point) => mapTensors((a, b) => a.add(b), total, point));
      const isEmpty = count.equal(0);
      return mapTensors((total, x) => isEmpty.where(x, total.mul(share)), sum, params);
    },
  });
}
