/** Loss terms without a target, such as padding: they have neither loss nor curvature. */
import { type Shape, sizeOf, type Tensor, UnsupportedError } from "@thalweg/tensor";
import type { OutputLoss } from "../output-loss";
import type { Batch, CurvatureProblem } from "../problem";

/** Inputs with what says which loss terms count: bool `[N, …terms]`. (A type, so that it counts as a tree.) */
export type Marked<X> = { readonly inputs: X; readonly isCounted: Tensor };

/** Targets that are no target. */
export interface IgnoredTargets<P, X> {
  readonly problem: CurvatureProblem<P, Marked<X>>;
  mark(batch: Batch<X>): Batch<Marked<X>>;
}

/**
 * The same problem without the loss terms of which the target is `ignoreIndex`. Their outputs count as 0, so that nothing
 * depends on parameters there.
 *
 * @throws UnsupportedError for losses whose targets are vectors.
 */
export function ignoringTargets<P, X>(problem: CurvatureProblem<P, X>, ignoreIndex: number): IgnoredTargets<P, X> {
  const { loss } = problem;
  if (loss.target !== "scalar") {
    throw new UnsupportedError(
      `ignoreIndex: the targets of ${loss.name} are vectors. Use a loss of classes, or leave examples out of the batch.`,
    );
  }
  const isIgnored = (targets: Tensor): Tensor => targets.equal(ignoreIndex);
  const known = (targets: Tensor): Tensor => isIgnored(targets).where(0, targets);
  const own: OutputLoss = {
    ...loss,
    value: (outputs, targets) => isIgnored(targets).where(0, loss.value(outputs, known(targets))),
    gradient: (outputs, targets) =>
      isIgnored(targets)
        .expandDims(-1)
        .where(0, loss.gradient(outputs, known(targets))),
  };
  return {
    problem: {
      ...problem,
      loss: own,
      model(params, { inputs, isCounted }) {
        const outputs = problem.model(params, inputs);
        return isCounted.reshape([...outputs.shape.slice(0, -1), 1]).where(outputs, 0);
      },
    },
    mark: ({ inputs, targets }) => ({ inputs: { inputs, isCounted: isIgnored(targets).not() }, targets }),
  };
}

/** How many loss terms count: scalar f32. */
export const countedTerms = (targets: Tensor, ignoreIndex: number | undefined): Tensor =>
  ignoreIndex === undefined
    ? targets.zerosLike().cast("f32").add(1).sum()
    : targets.notEqual(ignoreIndex).cast("f32").sum();

/** @throws UnsupportedError if an example has one loss term: there is nothing to leave out of it. */
export function requireSeveralTerms(outputs: Shape): void {
  if (sizeOf(outputs.slice(1, -1)) > 1) return;
  throw new UnsupportedError(
    "ignoreIndex: every example has one loss term. Leave the examples without a target out of the batches instead.",
  );
}
