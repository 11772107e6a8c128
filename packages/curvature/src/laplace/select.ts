/** Chooses prior precision and noise by the evidence. */
import { valueAndGrad } from "@thalweg/autograd";
import { ArgumentError, compile, scalar, type Tensor, treeFlatten, treeMap } from "@thalweg/tensor";
import { type Laplace, type LaplaceHyperparameters, priorLeaves } from "./laplace";

export interface SelectOptions {
  /** Steps of Adam. Default 10. */
  readonly steps?: number;
  /** Default 0.1, on the logarithms. */
  readonly learningRate?: number;
}

export interface Selection {
  /** After the last step. */
  readonly hyperparameters: LaplaceHyperparameters;
  /** log Z before every step. */
  readonly logEvidence: readonly number[];
}

const [beta1, beta2, epsilon] = [0.9, 0.999, 1e-8];

/**
 * Adam on log δ and log σ, upwards on log Z, with the curvature as it is: each step is elementwise where H has eigenvalues.
 *
 * @throws ArgumentError for a number of steps below 1.
 * @see Immer et al., Scalable marginal likelihood estimation for model selection in deep learning (2021), algorithm 1
 */
export async function selectHyperparameters<P, X>(
  posterior: Laplace<P, X>,
  start: LaplaceHyperparameters,
  { steps = 10, learningRate = 0.1 }: SelectOptions = {},
): Promise<Selection> {
  if (!Number.isInteger(steps) || steps < 1) {
    throw new ArgumentError(`selectHyperparameters: ${steps} steps. Give an integer of at least 1.`);
  }
  type State = {
    readonly at: LaplaceHyperparameters;
    readonly m: LaplaceHyperparameters;
    readonly v: LaplaceHyperparameters;
  };
  const step = ({ at, m, v }: State, count: Tensor) => {
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
            .mul(learningRate),
        ),
      at,
      first,
      second,
    );
    return [{ at: moved, m: first, v: second }, value] as const;
  };
  await posterior.realize();
  const program = compile(step);
  const zeros = treeMap((x: Tensor) => x.zerosLike(), start) as LaplaceHyperparameters;
  let state: State = { at: start, m: zeros, v: zeros };
  const values: Tensor[] = [];
  for (let count = 1; count <= steps; count++) {
    const [next, value] = program(state, scalar(count));
    state = next as State;
    values.push(value);
  }
  return { hyperparameters: state.at, logEvidence: await Promise.all(values.map((value) => value.item())) };
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
