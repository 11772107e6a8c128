/**
 * Losses as functions of a model's outputs: what second-order quantities have to know of a loss beyond its value.
 */
import { grad, hessian, vmap } from "@thalweg/autograd";
import {
  formatShape,
  type Key,
  linalg,
  logSoftmax,
  normal,
  ShapeError,
  scalar,
  sizeOf,
  softmax,
  type Tensor,
  UnsupportedError,
  uniform,
} from "@thalweg/tensor";
import { nonNegative } from "./clipping";

/**
 * A loss ℓ(f, y) of the outputs f of one loss term, `[C]`. All functions take any number of leading axes, which they
 * treat one by one.
 */
export interface OutputLoss {
  /** For messages. */
  readonly name: string;
  /** Whether the target of a term is one number, such as a class, or `[C]` like its outputs. */
  readonly target: "scalar" | "vector";
  /** ℓ: outputs `[…, C]` and their targets to `[…]`. */
  value(outputs: Tensor, targets: Tensor): Tensor;
  /** ∂ℓ/∂f, `[…, C]`. */
  gradient(outputs: Tensor, targets: Tensor): Tensor;
  /** (∂²ℓ/∂f²) u, `[…, C]`, which must not depend on the targets. */
  hessianProduct(outputs: Tensor, direction: Tensor): Tensor;
  /** Rows s_k with Σ_k s_k s_kᵀ = ∂²ℓ/∂f², `[…, K, C]`. */
  hessianRoot(outputs: Tensor): Tensor;
  /** Targets drawn from the distribution of which ℓ is the negative logarithm. */
  drawTargets(outputs: Tensor, key: Key): Tensor;
}

const lastExtent = (outputs: Tensor): number => outputs.shape.at(-1) as number;

function requireTerms(loss: string, outputs: Tensor, targets: Tensor, shape: readonly number[]): void {
  if (targets.shape.length === shape.length && targets.shape.every((extent, axis) => extent === shape[axis])) return;
  throw new ShapeError(
    `${loss}: outputs ${formatShape(outputs.shape)} need targets ${formatShape(shape)}, got ${formatShape(targets.shape)}.`,
  );
}

/** The identity of C rows in front of the last axis: `[…, C, C]`. */
function unitRows(outputs: Tensor): Tensor {
  const shape = [...outputs.shape, lastExtent(outputs)];
  const like = outputs.expandDims(-1).expand(shape);
  return like.iotaLike(-1).equal(like.iotaLike(-2)).cast(outputs.dtype);
}

/**
 * Cross entropy of softmax(f) to the class y: -log p_y. Targets are integers `[…]`.
 *
 * Hessian diag(p) - p pᵀ, whose root has the rows √p_k (e_k - p).
 */
export const crossEntropy: OutputLoss = {
  name: "crossEntropy",
  target: "scalar",
  value(outputs, targets) {
    requireTerms("crossEntropy", outputs, targets, outputs.shape.slice(0, -1));
    return isClass(outputs, targets).where(logSoftmax(outputs), 0).sum({ axis: -1 }).neg();
  },
  gradient: (outputs, targets) => softmax(outputs).sub(isClass(outputs, targets).cast(outputs.dtype)),
  hessianProduct(outputs, direction) {
    const p = softmax(outputs);
    return p.mul(direction.sub(p.mul(direction).sum({ axis: -1, keepDims: true })));
  },
  hessianRoot(outputs) {
    const p = softmax(outputs);
    return p
      .sqrt()
      .expandDims(-1)
      .mul(unitRows(outputs).sub(p.expandDims(-2)));
  },
  drawTargets(outputs, key) {
    const edges = softmax(outputs).cumsum({ axis: -1 });
    const drawn = uniform(key, outputs.shape.slice(0, -1)).expandDims(-1);
    // The last edge is 1 up to rounding; a draw above it belongs to the last class.
    const passed = edges.lessEqual(drawn.expand(edges.shape)).cast("i32").sum({ axis: -1 });
    return passed.minimum(lastExtent(outputs) - 1);
  },
};

const isClass = (outputs: Tensor, targets: Tensor): Tensor =>
  outputs.iotaLike(-1).equal(targets.cast("i32").expandDims(-1).expand(outputs.shape));

/** ½ Σ_c (f_c - y_c)², the negative log-likelihood of a normal distribution of variance 1. Hessian: the identity. */
export const squaredError: OutputLoss = {
  name: "squaredError",
  target: "vector",
  value(outputs, targets) {
    requireTerms("squaredError", outputs, targets, outputs.shape);
    return outputs.sub(targets).square().sum({ axis: -1 }).mul(0.5);
  },
  gradient: (outputs, targets) => outputs.sub(targets),
  hessianProduct: (_outputs, direction) => direction,
  hessianRoot: unitRows,
  drawTargets: (outputs, key) => outputs.add(normal(key, outputs.shape)),
};

/** Σ_c of the cross entropies of sigmoid(f_c) to y_c in [0, 1]. Hessian: diag(σ (1 - σ)). */
export const binaryCrossEntropy: OutputLoss = {
  name: "binaryCrossEntropy",
  target: "vector",
  value(outputs, targets) {
    requireTerms("binaryCrossEntropy", outputs, targets, outputs.shape);
    return outputs
      .softplus()
      .sub(outputs.mul(targets.cast(outputs.dtype)))
      .sum({ axis: -1 });
  },
  gradient: (outputs, targets) => outputs.sigmoid().sub(targets.cast(outputs.dtype)),
  hessianProduct: (outputs, direction) => bernoulliVariance(outputs).mul(direction),
  hessianRoot: (outputs) => unitRows(outputs).mul(bernoulliVariance(outputs).sqrt().expandDims(-1)),
  drawTargets: (outputs, key) => uniform(key, outputs.shape).less(outputs.sigmoid()).cast(outputs.dtype),
};

/** σ(f) (1 - σ(f)), without the cancellation of 1 - σ. */
const bernoulliVariance = (outputs: Tensor): Tensor => outputs.sigmoid().mul(outputs.neg().sigmoid());

/**
 * The mean of squared errors over the C outputs, (1/C) Σ_c (f_c - y_c)², as most libraries write it: 2/C times
 * {@link squaredError}, the negative log-likelihood of a variance of C/2.
 */
export const meanSquaredError: OutputLoss = {
  name: "meanSquaredError",
  target: "vector",
  value: (outputs, targets) => squaredError.value(outputs, targets).mul(2 / lastExtent(outputs)),
  gradient: (outputs, targets) => outputs.sub(targets).mul(2 / lastExtent(outputs)),
  hessianProduct: (outputs, direction) => direction.mul(2 / lastExtent(outputs)),
  hessianRoot: (outputs) => unitRows(outputs).mul(Math.sqrt(2 / lastExtent(outputs))),
  drawTargets: (outputs, key) => outputs.add(normal(key, outputs.shape).mul(Math.sqrt(lastExtent(outputs) / 2))),
};

/**
 * Any other loss that is convex in the outputs, with derivatives by differentiation.
 *
 * @param value ℓ of one term: outputs `[C]` and its target to a scalar. Its Hessian must not depend on the target, as for
 *   every negative log-likelihood of an exponential family in its natural parameters; it is taken at the target 0.
 * @param target Whether a target is one number or `[C]`. Default `"vector"`.
 */
export function convexLoss(
  name: string,
  value: (output: Tensor, target: Tensor) => Tensor,
  { target = "vector" }: { readonly target?: OutputLoss["target"] } = {},
): OutputLoss {
  const anyTarget = (output: Tensor): Tensor => (target === "scalar" ? scalar(0) : output.zerosLike());
  const hessianAt = (output: Tensor): Tensor => hessian((f: Tensor) => value(f, anyTarget(f)))(output);
  const each = (outputs: Tensor, f: (output: Tensor) => Tensor): Tensor => {
    const leading = outputs.shape.slice(0, -1);
    const result = vmap(f)(outputs.reshape([sizeOf(leading), lastExtent(outputs)]));
    return result.reshape([...leading, ...result.shape.slice(1)]);
  };
  const eachPair = (outputs: Tensor, targets: Tensor, f: (output: Tensor, target: Tensor) => Tensor): Tensor => {
    const leading = outputs.shape.slice(0, -1);
    const count = sizeOf(leading);
    const rows = targets.reshape([count, ...targets.shape.slice(leading.length)]);
    const result = vmap(f)(outputs.reshape([count, lastExtent(outputs)]), rows);
    return result.reshape([...leading, ...result.shape.slice(1)]);
  };
  return {
    name,
    target,
    value: (outputs, targets) => eachPair(outputs, targets, value),
    gradient: (outputs, targets) => eachPair(outputs, targets, (f, y) => grad((at: Tensor) => value(at, y))(f)),
    hessianProduct: (outputs, direction) => eachPair(outputs, direction, (f, u) => hessianAt(f).dot(u)),
    hessianRoot(outputs) {
      const { values, vectors } = linalg.eigh(each(outputs, hessianAt));
      return vectors.transpose().mul(nonNegative(values).sqrt().expandDims(-1));
    },
    drawTargets() {
      throw new UnsupportedError(
        `${name}: it is not known which distribution the targets have, so none can be drawn. Use fisher "type2".`,
      );
    },
  };
}
