/** What curvature is the curvature of: a model, a loss of its outputs, and how the losses are put together. */
import { vmap } from "@thalweg/autograd";
import { ArgumentError, formatShape, ShapeError, sizeOf, Tensor, treeFlatten, treeMap } from "@thalweg/tensor";
import type { OutputLoss } from "./output-loss";

/**
 * L(θ) = ρ Σ_n Σ_m ℓ(f[n, m], y[n, m]) over the examples n and the loss terms m of each.
 *
 * @typeParam P The tree of parameters.
 * @typeParam X The tree of inputs; every tensor in it has the examples on axis 0.
 */
export interface CurvatureProblem<P, X = Tensor> {
  /**
   * The outputs of a batch: `[N, C]`, or `[N, …terms, C]` where an example has several loss terms (tokens, pixels). It
   * is called on batches of one, so no example may look at another one: batch norm has to use running statistics.
   */
  readonly model: (params: P, inputs: X) => Tensor;
  readonly loss: OutputLoss;
  /** ρ: `"mean"` is 1 over the number of loss terms (never over C), `"sum"` is 1. Default `"mean"`. */
  readonly reduction?: "mean" | "sum";
}

/** Inputs and targets of examples, all with the examples on axis 0. */
export interface Batch<X = Tensor> {
  readonly inputs: X;
  readonly targets: Tensor;
}

/** A number of examples that all tensors of the batch agree on. @throws ShapeError, ArgumentError */
export function batchSize(operation: string, { inputs, targets }: Batch<unknown>): number {
  const { leaves, paths } = treeFlatten<unknown>({ inputs, targets });
  const size = targets.shape[0];
  if (size === undefined || size === 0) {
    throw new ShapeError(
      `${operation}: targets ${formatShape(targets.shape)} have no examples. Give axis 0 at least one.`,
    );
  }
  leaves.forEach((leaf, index) => {
    const name = (paths[index] as readonly string[]).join(".");
    if (!(leaf instanceof Tensor)) throw new ArgumentError(`${operation}: ${name} of the batch is not a tensor.`);
    if (leaf.shape[0] !== size) {
      throw new ShapeError(
        `${operation}: ${name} ${formatShape(leaf.shape)} has ${leaf.shape[0] ?? "no"} examples, the targets have ${size}. ` +
          "Put the examples on axis 0.",
      );
    }
  });
  return size;
}

/** The outputs of one example with all loss terms in a row: `[M, C]`. */
export function exampleOutputs<P, X>({ model }: Pick<CurvatureProblem<P, X>, "model">, params: P, example: X): Tensor {
  const single = treeMap((x: Tensor) => x.expandDims(0), example) as X;
  const outputs = model(params, single);
  if (outputs.rank < 2 || outputs.shape[0] !== 1) {
    throw new ShapeError(
      `The model gives ${formatShape(outputs.shape)} for a batch of one. It has to give [1, C], or [1, …terms, C].`,
    );
  }
  return outputs.reshape([sizeOf(outputs.shape.slice(1, -1)), outputs.shape.at(-1) as number]);
}

/** The targets of one example, one row (or class) for each of its M loss terms. */
export function exampleTargets({ name, target }: OutputLoss, outputs: Tensor, targets: Tensor): Tensor {
  const [terms, features] = outputs.shape as [number, number];
  const shape = target === "scalar" ? [terms] : [terms, features];
  if (targets.size !== sizeOf(shape)) {
    throw new ShapeError(
      `${name}: ${terms} loss terms of ${features} outputs need targets ${formatShape(shape)} for each example, got ` +
        `${formatShape(targets.shape)}.`,
    );
  }
  return targets.reshape(shape);
}

/** ρ, from the number of examples and of loss terms in each. */
export const lossScale = (
  { reduction = "mean" }: Pick<CurvatureProblem<never>, "reduction">,
  examples: number,
  terms: number,
) => (reduction === "mean" ? 1 / (examples * terms) : 1);

/** The losses of the examples, each summed over its terms and without ρ: `[N]`. */
export function exampleLosses<P, X>(problem: CurvatureProblem<P, X>, params: P, { inputs, targets }: Batch<X>): Tensor {
  return vmap((example: X, target: Tensor) => {
    const outputs = exampleOutputs(problem, params, example);
    return problem.loss.value(outputs, exampleTargets(problem.loss, outputs, target)).sum();
  })(inputs, targets);
}

/** L at the parameters: scalar. */
export function problemLoss<P, X>(problem: CurvatureProblem<P, X>, params: P, batch: Batch<X>): Tensor {
  const examples = batchSize("problemLoss", batch);
  const { shape } = problem.model(params, batch.inputs);
  const scale = lossScale(problem, examples, sizeOf(shape.slice(1, -1)));
  return exampleLosses(problem, params, batch).sum().mul(scale);
}
