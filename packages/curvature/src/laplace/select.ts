/** Chooses prior precision and noise by the evidence. */
import { valueAndGrad } from "@thalweg/autograd";
import { ArgumentError, compile, NonFiniteError, scalar, type Tensor, treeFlatten, treeMap } from "@thalweg/tensor";
import { type Laplace, type LaplaceHyperparameters, priorLeaves } from "./laplace";

export interface SelectOptions {
  /** Steps of Adam. Default 10. */
  readonly steps?: number;
  /** Default 0.1, on the logarithms. */
  readonly learningRate?: number;
  /** `"cosine"` lets the learning rate fall to 0 over the steps. Default `"constant"`. */
  readonly schedule?: "constant" | "cosine";
}

export interface Selection {
  /** After the last step. */
  readonly hyperparameters: LaplaceHyperparameters;
  /** log Z before every step. */
  readonly logEvidence: readonly number[];
  /** Those of the posterior, and whether f32 is too coarse for the curvature at these hyperparameters. */
  readonly warnings: readonly string[];
}

/** Adam's memory. (A type, so that it counts as a tree.) */
export type SelectionState = {
  readonly at: LaplaceHyperparameters;
  readonly m: LaplaceHyperparameters;
  readonly v: LaplaceHyperparameters;
};

const [beta1, beta2, epsilon] = [0.9, 0.999, 1e-8];

/** Conditions above this leave the small eigenvalues of a curvature in f32 to rounding. */
const largestCondition = 1e5;

/**
 * Adam on log δ and log σ, upwards on log Z, with the curvature as it is: each step is elementwise where H has eigenvalues.
 *
 * @throws ArgumentError for a number of steps below 1; NonFiniteError if data or evidence are not finite.
 * @see Immer et al., Scalable marginal likelihood estimation for model selection in deep learning (2021), algorithm 1
 */
export async function selectHyperparameters<P, X>(
  posterior: Laplace<P, X>,
  start: LaplaceHyperparameters,
  { steps = 10, learningRate = 0.1, schedule = "constant" }: SelectOptions = {},
): Promise<Selection> {
  if (!Number.isInteger(steps) || steps < 1) {
    throw new ArgumentError(`selectHyperparameters: ${steps} steps. Give an integer of at least 1.`);
  }
  await posterior.realize();
  const program = compile((state: SelectionState, count: Tensor, rate: Tensor) =>
    evidenceStep(posterior, state, count, rate),
  );
  let state = firstSelection(start);
  const values: Tensor[] = [];
  for (let count = 1; count <= steps; count++) {
    const [next, value] = program(state, scalar(count), scalar(learningRate * rateAt(schedule, count - 1, steps)));
    state = next;
    values.push(value);
  }
  const logEvidence = await Promise.all(values.map((value) => value.item()));
  program.dispose();
  const wrong = logEvidence.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) {
    throw new NonFiniteError(
      `selectHyperparameters: the log evidence is ${logEvidence[wrong]} before step ${wrong + 1}. Start with other ` +
        "hyperparameters, or take a smaller learning rate.",
    );
  }
  const condition = await posterior.condition(state.at).item();
  return {
    hyperparameters: state.at,
    logEvidence,
    warnings: [...posterior.warnings, ...conditionWarnings(condition)],
  };
}

/** What a condition number says of evidence in f32; empty if nothing. */
export const conditionWarnings = (condition: number): string[] =>
  condition <= largestCondition
    ? []
    : [
        `The precision has a condition of about ${condition.toExponential(1)}: the small eigenvalues of the curvature are lost ` +
          "in the rounding of f32, and the log determinant with them. Larger prior precisions, or a structure with fewer " +
          "parameters, help.",
      ];

/** What the learning rate is multiplied by in the step of index `index`. */
export const rateAt = (schedule: "constant" | "cosine", index: number, steps: number): number =>
  schedule === "constant" ? 1 : 0.5 * (1 + Math.cos((Math.PI * index) / steps));

export function firstSelection(at: LaplaceHyperparameters): SelectionState {
  const zeros = treeMap((x: Tensor) => x.zerosLike(), at) as LaplaceHyperparameters;
  return { at, m: zeros, v: zeros };
}

/**
 * One step of {@link selectHyperparameters}, lazily.
 *
 * @param count 1, 2, …: scalar.
 * @param rate The learning rate: scalar.
 * @returns the state after the step, and log Z before it.
 */
export function evidenceStep<P, X>(
  posterior: Pick<Laplace<P, X>, "evidence">,
  { at, m, v }: SelectionState,
  count: Tensor,
  rate: Tensor,
): readonly [SelectionState, Tensor] {
  const [value, slopes] = valueAndGrad((own: LaplaceHyperparameters) => posterior.evidence(own).logEvidence)(at);
  const first = treeMap((own: Tensor, g: Tensor) => own.mul(beta1).add(g.mul(1 - beta1)), m, slopes);
  const second = treeMap((own: Tensor, g: Tensor) => own.mul(beta2).add(g.square().mul(1 - beta2)), v, slopes);
  const correction = (beta: number): Tensor => count.mul(Math.log(beta)).exp().neg().add(1);
  const moved = treeMap(
    (x: Tensor, a: Tensor, b: Tensor) =>
      x.add(
        a
          .div(correction(beta1))
          .div(b.div(correction(beta2)).sqrt().add(epsilon))
          .mul(rate),
      ),
    at,
    first,
    second,
  );
  return [{ at: moved, m: first, v: second } as SelectionState, value];
}

/**
 * ½ ρ Σ δ θ² (times σ² for a regression), which makes the minimum of a mean loss the maximum of the posterior: what weight
 * decay is in these terms. Add it to the loss while training.
 *
 * @param examples N of all data: ρ is 1/N, times the loss terms of an example where it has several.
 */
export function priorPenalty<P>(
  params: P,
  { logPriorPrecision, logNoise }: LaplaceHyperparameters,
  { examples, terms = 1 }: { readonly examples: number; readonly terms?: number },
): Tensor {
  const { leaves } = treeFlatten<Tensor>(params);
  const deltas = priorLeaves(
    logPriorPrecision,
    leaves.map(({ shape }) => shape),
  );
  const sum = leaves
    .map((leaf, index) =>
      leaf
        .square()
        .mul((deltas[index] as Tensor).exp())
        .sum(),
    )
    .reduce((one, other) => one.add(other));
  const scaled = sum.mul(0.5 / (examples * terms));
  return logNoise === undefined ? scaled : scaled.mul(logNoise.mul(2).exp());
}
