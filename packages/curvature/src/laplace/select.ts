/** Chooses prior precision and noise by the evidence. */
import { valueAndGrad } from "@thalweg/autograd";
import {
  ArgumentError,
  compile,
  NonFiniteError,
  scan,
  type Tensor,
  tensor,
  treeFlatten,
  treeMap,
} from "@thalweg/tensor";
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
  options: SelectOptions = {},
): Promise<Selection> {
  await posterior.realize();
  const program = compile((at: LaplaceHyperparameters) => {
    const steps = evidenceSteps(posterior, at, options);
    return { ...steps, condition: posterior.condition(steps.hyperparameters) };
  });
  const { hyperparameters, logEvidence, condition } = program(start);
  const values = Array.from(await logEvidence.data());
  program.dispose();
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) {
    throw new NonFiniteError(
      `selectHyperparameters: the log evidence is ${values[wrong]} before step ${wrong + 1}. Start with other ` +
        "hyperparameters, or take a smaller learning rate.",
    );
  }
  return {
    hyperparameters,
    logEvidence: values,
    warnings: [...posterior.warnings, ...conditionWarnings(await condition.item())],
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

/**
 * The steps of {@link selectHyperparameters}, lazily.
 *
 * @returns what they lead to, and log Z before each: `[steps]`.
 * @throws ArgumentError for a number of steps below 1.
 */
export function evidenceSteps<P, X>(
  posterior: Pick<Laplace<P, X>, "evidence">,
  start: LaplaceHyperparameters,
  { steps = 10, learningRate = 0.1, schedule = "constant" }: SelectOptions = {},
): { readonly hyperparameters: LaplaceHyperparameters; readonly logEvidence: Tensor } {
  if (!Number.isInteger(steps) || steps < 1) {
    throw new ArgumentError(`selectHyperparameters: ${steps} steps. Give an integer of at least 1.`);
  }
  const indices = Array.from({ length: steps }, (_, index) => index);
  const shares = indices.map((index) =>
    schedule === "constant" ? 1 : 0.5 * (1 + Math.cos((Math.PI * index) / steps)),
  );
  const corrections = (beta: number): Tensor => tensor(indices.map((index) => 1 - beta ** (index + 1)));
  type State = Readonly<Record<"at" | "m" | "v", LaplaceHyperparameters>>;
  type Numbers = Readonly<Record<"rate" | "first" | "second", Tensor>>;
  const step = ({ at, m, v }: State, { rate, first, second }: Numbers): readonly [State, Tensor] => {
    const [value, slopes] = valueAndGrad((own: LaplaceHyperparameters) => posterior.evidence(own).logEvidence)(at);
    const means = treeMap((own: Tensor, g: Tensor) => own.mul(beta1).add(g.mul(1 - beta1)), m, slopes);
    const squares = treeMap((own: Tensor, g: Tensor) => own.mul(beta2).add(g.square().mul(1 - beta2)), v, slopes);
    const move = (x: Tensor, a: Tensor, b: Tensor): Tensor =>
      x.add(a.div(first).div(b.div(second).sqrt().add(epsilon)).mul(rate));
    return [{ at: treeMap(move, at, means, squares), m: means, v: squares } as State, value];
  };
  const zeros = treeMap((x: Tensor) => x.zerosLike(), start) as LaplaceHyperparameters;
  const [{ at }, logEvidence] = scan(
    step,
    { at: start, m: zeros, v: zeros },
    {
      rate: tensor(shares.map((share) => share * learningRate)),
      first: corrections(beta1),
      second: corrections(beta2),
    },
  );
  return { hyperparameters: at, logEvidence };
}

/**
 * ½ ρ Σ δ θ² (times σ² for a regression, over T), which makes the minimum of a mean loss the maximum of the posterior: what
 * weight decay is in these terms. Add it to the loss while training.
 *
 * @param examples N of all data: ρ is 1/N, over the loss terms of an example where it has several.
 */
export function priorPenalty<P>(
  params: P,
  { logPriorPrecision, logNoise }: LaplaceHyperparameters,
  {
    examples,
    terms = 1,
    temperature = 1,
  }: { readonly examples: number; readonly terms?: number; readonly temperature?: number },
): Tensor {
  const { leaves } = treeFlatten<Tensor>(params);
  const logs = priorLeaves(
    logPriorPrecision,
    leaves.map(({ shape }) => shape),
  );
  const sum = leaves
    .map((leaf, index) =>
      leaf
        .square()
        .mul((logs[index] as Tensor).exp())
        .sum(),
    )
    .reduce((one, other) => one.add(other));
  const scaled = sum.mul(0.5 / (examples * terms * temperature));
  return logNoise === undefined ? scaled : scaled.mul(logNoise.mul(2).exp());
}
