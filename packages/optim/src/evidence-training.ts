/** Training that chooses prior precision (weight decay) and noise by the marginal likelihood of the training data. */
import { valueAndGrad } from "@thalweg/autograd";
import {
  type Batch,
  type CurvatureProblem,
  type LaplaceHyperparameters,
  type LaplaceOptions,
  laplace,
  priorPenalty,
  problemLoss,
  selectHyperparameters,
} from "@thalweg/curvature";
import { ArgumentError, compile, evaluate, type Tensor, treeLeaves } from "@thalweg/tensor";
import { applyUpdates } from "./apply";
import type { GradientTransformation, OptimizerState } from "./transform";

export interface EvidenceTrainingOptions<P, X> {
  readonly problem: CurvatureProblem<P, X>;
  readonly params: P;
  /** A rule without weight decay: the prior is the weight decay. */
  readonly optimizer: GradientTransformation;
  /** All training data in batches, as the steps of one epoch take them. The same ones fit the posterior. */
  readonly batches: readonly Batch<X>[];
  readonly epochs: number;
  /** Hyperparameters at the start: one log precision, or one for each parameter tensor; log σ for a regression. */
  readonly start: LaplaceHyperparameters;
  /** Epochs between two fits. Default 1. */
  readonly fitEvery?: number;
  /** Epochs before the first fit. Default 0. */
  readonly burnIn?: number;
  /** Steps of Adam on the hyperparameters after a fit. Default 10, with a learning rate of 0.1. */
  readonly hyperparameterSteps?: number;
  readonly hyperparameterRate?: number;
  /** Default: Kronecker blocks, weights and biases apart. */
  readonly posterior?: LaplaceOptions;
}

export interface EvidenceTraining<P> {
  /** Those of the best log evidence: stopping early without validation data. */
  readonly params: P;
  readonly hyperparameters: LaplaceHyperparameters;
  /** What δ is as weight decay on a mean loss, δ / N (times σ² for a regression): like `logPriorPrecision`. */
  readonly weightDecay: Tensor;
  /** log Z at every fit, after its steps on the hyperparameters. */
  readonly logEvidence: readonly number[];
}

/**
 * Alternates epochs on the loss with the prior's penalty, and fits of a Laplace posterior that move the hyperparameters.
 *
 * @throws ArgumentError without batches or epochs to fit in.
 * @see Immer et al., Scalable marginal likelihood estimation for model selection in deep learning (2021), algorithm 1
 */
export async function trainWithEvidence<P, X>(options: EvidenceTrainingOptions<P, X>): Promise<EvidenceTraining<P>> {
  const { problem, optimizer, batches, epochs, fitEvery = 1, burnIn = 0, posterior: kind = {} } = options;
  if (batches.length === 0 || !Number.isInteger(epochs) || epochs <= burnIn) {
    throw new ArgumentError(
      `trainWithEvidence: ${batches.length} batches, ${epochs} epochs after a burn-in of ${burnIn}. Give at least one batch and ` +
        "one epoch after the burn-in.",
    );
  }
  const examples = batches.reduce((sum, { targets }) => sum + (targets.shape[0] as number), 0);
  type State = { readonly params: P; readonly own: OptimizerState };
  const step = compile(({ params, own }: State, batch: Batch<X>, hyperparameters: LaplaceHyperparameters): State => {
    const lossOf = (at: P): Tensor =>
      problemLoss(problem, at, batch).add(priorPenalty(at, hyperparameters, { examples }));
    const [, gradients] = valueAndGrad(lossOf)(params);
    const [updates, next] = optimizer.update(gradients, own, params);
    return { params: applyUpdates(params, updates), own: next };
  });
  let state: State = { params: options.params, own: optimizer.init(options.params) };
  let hyperparameters = options.start;
  const logEvidence: number[] = [];
  let best:
    | { readonly params: P; readonly hyperparameters: LaplaceHyperparameters; readonly value: number }
    | undefined;
  for (let epoch = 1; epoch <= epochs; epoch++) {
    for (const batch of batches) state = step(state, batch, hyperparameters);
    const isFitted = epoch > burnIn && ((epoch - burnIn) % fitEvery === 0 || epoch === epochs);
    if (!isFitted) continue;
    const posterior = laplace(problem, state.params, batches, kind);
    const selection = await selectHyperparameters(posterior, hyperparameters, {
      steps: options.hyperparameterSteps ?? 10,
      learningRate: options.hyperparameterRate ?? 0.1,
    });
    hyperparameters = selection.hyperparameters;
    const value = await posterior.evidence(hyperparameters).logEvidence.item();
    logEvidence.push(value);
    if (best === undefined || value > best.value) best = { params: state.params, hyperparameters, value };
  }
  step.dispose();
  const { params, hyperparameters: chosen } = best as NonNullable<typeof best>;
  await evaluate(treeLeaves<Tensor>([params, chosen]));
  const noise = chosen.logNoise === undefined ? 1 : chosen.logNoise.mul(2).exp();
  return {
    params,
    hyperparameters: chosen,
    weightDecay: chosen.logPriorPrecision.exp().mul(noise).div(examples),
    logEvidence,
  };
}
