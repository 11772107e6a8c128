/** Training that chooses prior precision (weight decay) and noise by the marginal likelihood of the training data. */
import { valueAndGrad } from "@thalweg/autograd";
import {
  type Batch,
  type CurvatureProblem,
  conditionWarnings,
  evidenceSteps,
  exampleLosses,
  ignoringTargets,
  type LaplaceHyperparameters,
  type LaplaceOptions,
  type LaplaceSums,
  laplaceFit,
  priorPenalty,
  restrict,
  type SelectOptions,
  squaredError,
  type Uncertain,
  uncertainTensors,
} from "@thalweg/curvature";
import {
  ArgumentError,
  compile,
  evaluate,
  foldIn,
  invariant,
  type Key,
  NonFiniteError,
  nearestName,
  scalar,
  sizeOf,
  type Tensor,
  treeFlatten,
  treeLeaves,
  zeros,
} from "@thalweg/tensor";
import { applyUpdates } from "./apply";
import type { GradientTransformation, OptimizerState } from "./transform";

export interface EvidenceTrainingOptions<P, X> {
  /** Its `reduction` plays no part. No example may look at another one: batch norm has to use running statistics. */
  readonly problem: CurvatureProblem<P, X>;
  readonly params: P;
  /** A rule without weight decay: the prior is the weight decay. */
  readonly optimizer: GradientTransformation;
  /** All training data in batches, as the steps of one epoch take them. The same ones fit the posterior. */
  readonly batches: readonly Batch<X>[];
  /** Default 300. */
  readonly epochs?: number;
  /**
   * Hyperparameters at the start: one log precision, or one for each trained tensor; log σ for a regression. Default: δ = 1
   * for each trained tensor, and σ = 1 with {@link squaredError}.
   */
  readonly start?: LaplaceHyperparameters;
  /** Epochs between two fits. Default 1. */
  readonly fitEvery?: number;
  /** Epochs before the first fit. Default 0. */
  readonly burnIn?: number;
  /** Steps on the hyperparameters after a fit. Default: 10 of Adam with a learning rate of 0.1. */
  readonly selection?: SelectOptions;
  /**
   * Default: Kronecker blocks, weights and biases apart, of all trained tensors. With fewer in `parameters` the evidence
   * chooses the precisions of these alone; the others keep theirs. `temperature` and `ignoreIndex` count for the loss too.
   */
  readonly posterior?: Omit<LaplaceOptions, "examples">;
  /** Names of tensors that are neither trained nor uncertain, and have no prior. */
  readonly frozen?: readonly string[];
  /** Called after every fit. Keep the checkpoint to go on from there; its tensors stay valid. */
  readonly onFit?: (checkpoint: EvidenceCheckpoint<P>) => void | Promise<void>;
  /** A checkpoint of a run with the same options: training goes on after its epoch. */
  readonly from?: EvidenceCheckpoint<P>;
}

/** Everything that a run has to remember. */
export interface EvidenceCheckpoint<P> {
  /** Epochs done. */
  readonly epoch: number;
  readonly params: P;
  readonly optimizer: OptimizerState;
  readonly hyperparameters: LaplaceHyperparameters;
  /** log Z at every fit so far. */
  readonly logEvidence: readonly number[];
  readonly best: EvidenceBest<P>;
}

/** The fit of the largest log evidence. */
export interface EvidenceBest<P> {
  readonly epoch: number;
  readonly params: P;
  readonly hyperparameters: LaplaceHyperparameters;
  readonly logEvidence: number;
  /** γ of each uncertain tensor. */
  readonly effectiveParameters: readonly number[];
  /** About the condition of the precision. */
  readonly condition: number;
}

/** What was chosen for a trained tensor. */
export interface EvidenceLayer {
  readonly name: string;
  readonly parameters: number;
  /** δ; the geometric mean, where every parameter has its own. */
  readonly priorPrecision: number;
  /** γ, how many of the parameters the data determine; undefined where the posterior leaves the tensor out. */
  readonly effectiveParameters: number | undefined;
  /** What δ is as weight decay on a mean loss. */
  readonly weightDecay: number;
}

export interface EvidenceTraining<P> {
  /** Those of the best log evidence: stopping early without validation data. */
  readonly params: P;
  readonly hyperparameters: LaplaceHyperparameters;
  /**
   * What δ is as weight decay on the mean loss over all loss terms: δ / N (times σ² for a regression, over T), like
   * `logPriorPrecision`.
   */
  readonly weightDecay: Tensor;
  /** The same and more for each trained tensor. */
  readonly layers: readonly EvidenceLayer[];
  /** log Z at every fit, after its steps on the hyperparameters. */
  readonly logEvidence: readonly number[];
  /** After how many epochs the best fit was. */
  readonly bestEpoch: number;
  /** What is to be known before the evidence is believed; empty if nothing. */
  readonly warnings: readonly string[];
}

/**
 * Alternates epochs on the loss with the prior's penalty, and fits of a Laplace posterior that move the hyperparameters.
 *
 * @throws ArgumentError without batches or epochs to fit in, and for names that do not exist; NonFiniteError if the evidence
 *   is not finite; UnsupportedError for a model whose outputs for one example change with the others of a batch.
 * @see Immer et al., Scalable marginal likelihood estimation for model selection in deep learning (2021), algorithm 1
 */
export async function trainWithEvidence<P, X>(options: EvidenceTrainingOptions<P, X>): Promise<EvidenceTraining<P>> {
  const { optimizer, batches, epochs = 300, fitEvery = 1, burnIn = 0, posterior: kind = {}, selection = {} } = options;
  const [first] = batches;
  requireEpochs(batches.length, { epochs, fitEvery, burnIn });
  invariant(first !== undefined, "there is a batch");
  const problem: CurvatureProblem<P, X> = { ...options.problem, reduction: "sum" };
  const tensors = trainedTensors(options.params, options.frozen ?? []);
  const { uncertain: begin, fill, problem: own } = restrict(problem, options.params, tensors);
  const fit = laplaceFit(own, begin, first, kind);
  const { ignoreIndex, temperature = 1 } = kind;
  const examples = batches.reduce((sum, { targets }) => sum + (targets.shape[0] as number), 0);
  const terms = (await countTerms(own, begin, batches, ignoreIndex)) / examples;

  const lossesOf = (at: Uncertain, batch: Batch<X>): Tensor => {
    if (ignoreIndex === undefined) return exampleLosses(own, at, batch);
    const { problem: without, mark } = ignoringTargets(own, ignoreIndex);
    return exampleLosses(without, at, mark(batch));
  };
  type State = { readonly params: Uncertain; readonly optimizer: OptimizerState };
  const step = compile(
    ({ params, optimizer: memory }: State, batch: Batch<X>, hyperparameters: LaplaceHyperparameters): State => {
      const lossOf = (at: Uncertain): Tensor =>
        lossesOf(at, batch)
          .mean()
          .div(terms)
          .add(priorPenalty(at, fit.tie(hyperparameters), { examples, terms, temperature }));
      const [, gradients] = valueAndGrad(lossOf)(params);
      const [updates, next] = optimizer.update(gradients, memory, params);
      return { params: applyUpdates(params, updates), optimizer: next };
    },
  );
  const sumsOf = compile((at: Uncertain, batch: Batch<X>, key: Key | null) => fit.sums(at, batch, key ?? undefined));
  const combine = compile((one: LaplaceSums, other: LaplaceSums) => fit.combine([one, other]));
  const choose = compile((at: Uncertain, sums: LaplaceSums, before: LaplaceHyperparameters) => {
    const posterior = fit.posterior(at, sums);
    const { hyperparameters } = evidenceSteps(posterior, before, selection);
    return {
      hyperparameters,
      logEvidence: posterior.evidence(hyperparameters).logEvidence,
      effectiveParameters: posterior.effectiveParametersByTensor(hyperparameters),
      condition: posterior.condition(hyperparameters),
    };
  });

  const { from } = options;
  const resumed = from === undefined ? begin : restrict(problem, from.params, tensors).uncertain;
  let state: State = { params: resumed, optimizer: from?.optimizer ?? optimizer.init(begin) };
  let hyperparameters = from?.hyperparameters ?? options.start ?? defaultStart(options, tensors.length);
  const logEvidence = [...(from?.logEvidence ?? [])];
  let best = from?.best;
  await fit.check(state.params, first);
  for (let epoch = (from?.epoch ?? 0) + 1; epoch <= epochs; epoch++) {
    for (const batch of batches) state = step(state, batch, hyperparameters);
    const isFitted = epoch > burnIn && ((epoch - burnIn) % fitEvery === 0 || epoch === epochs);
    if (!isFitted) continue;
    const sums = batches
      .map((batch, index) => sumsOf(state.params, batch, keyOf(kind.key, epoch, index)))
      .reduce((one, other) => combine(one, other));
    const chosen = choose(state.params, sums, hyperparameters);
    hyperparameters = fit.tie(chosen.hyperparameters);
    const [value, gammas, condition] = await Promise.all([
      chosen.logEvidence.item(),
      chosen.effectiveParameters.data(),
      chosen.condition.item(),
    ]);
    if (!Number.isFinite(value)) {
      throw new NonFiniteError(
        `trainWithEvidence: the log evidence is ${value} after epoch ${epoch}. Look for NaN in the data, or take smaller ` +
          "learning rates.",
      );
    }
    logEvidence.push(value);
    const params = fill(state.params);
    if (best === undefined || value > best.logEvidence) {
      const effectiveParameters = Array.from(gammas);
      best = { epoch, params, hyperparameters, logEvidence: value, effectiveParameters, condition };
    }
    await options.onFit?.({
      epoch,
      params,
      optimizer: state.optimizer,
      hyperparameters,
      logEvidence: [...logEvidence],
      best,
    });
  }
  for (const program of [step, sumsOf, combine, choose]) program.dispose();
  if (best === undefined)
    throw new ArgumentError("trainWithEvidence: the checkpoint is at the last epoch. Give more epochs.");
  const noise = best.hyperparameters.logNoise?.mul(2).exp() ?? scalar(1);
  const perDelta = noise.div(examples * terms * temperature);
  const weightDecay = best.hyperparameters.logPriorPrecision.exp().mul(perDelta);
  await evaluate(treeLeaves<Tensor>([best.params, best.hyperparameters, weightDecay]));
  return {
    params: best.params,
    hyperparameters: best.hyperparameters,
    weightDecay,
    layers: layersOf(begin, fit.uncertain, best, await logsOf(best.hyperparameters), await perDelta.item()),
    logEvidence,
    bestEpoch: best.epoch,
    warnings: conditionWarnings(best.condition),
  };
}

function requireEpochs(
  batches: number,
  { epochs, fitEvery, burnIn }: Readonly<Record<"epochs" | "fitEvery" | "burnIn", number>>,
): void {
  if (batches === 0 || !Number.isInteger(epochs) || epochs <= burnIn) {
    throw new ArgumentError(
      `trainWithEvidence: ${batches} batches, ${epochs} epochs after a burn-in of ${burnIn}. Give at least one batch and ` +
        "one epoch after the burn-in.",
    );
  }
  if (Number.isInteger(fitEvery) && fitEvery >= 1 && Number.isInteger(burnIn) && burnIn >= 0) return;
  throw new ArgumentError(
    `trainWithEvidence: a fit every ${fitEvery} epochs after ${burnIn}. Give an integer of at least 1, and one of at least 0.`,
  );
}

function trainedTensors(params: unknown, frozen: readonly string[]) {
  const names = treeFlatten<Tensor>(params).paths.map((path) => path.join("."));
  const unknown = frozen.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    const nearest = nearestName(unknown, names);
    throw new ArgumentError(
      `trainWithEvidence: no parameter "${unknown}" to freeze.${nearest === undefined ? "" : ` Did you mean "${nearest}"?`} ` +
        `Known: ${names.join(", ")}.`,
    );
  }
  const kept = names.filter((name) => !frozen.includes(name));
  if (kept.length === 0) throw new ArgumentError("trainWithEvidence: all parameters are frozen. Leave one to train.");
  return uncertainTensors(params, kept);
}

/** How many loss terms the data have. */
async function countTerms<X>(
  problem: CurvatureProblem<Uncertain, X>,
  params: Uncertain,
  batches: readonly Batch<X>[],
  ignoreIndex: number | undefined,
): Promise<number> {
  if (ignoreIndex === undefined) {
    return batches.reduce((sum, { inputs }) => sum + sizeOf(problem.model(params, inputs).shape.slice(0, -1)), 0);
  }
  const counts = batches.map(({ targets }) => targets.notEqual(ignoreIndex).cast("f32").sum());
  const count = await counts.reduce((sum, own) => sum.add(own)).item();
  if (count > 0) return count;
  throw new ArgumentError(`trainWithEvidence: all targets are ignoreIndex ${ignoreIndex}. Give some that are not.`);
}

const defaultStart = <P, X>({ problem }: EvidenceTrainingOptions<P, X>, tensors: number): LaplaceHyperparameters => ({
  logPriorPrecision: zeros([tensors]),
  ...(problem.loss === squaredError && { logNoise: scalar(0) }),
});

const keyOf = (key: Key | undefined, epoch: number, batch: number): Key | null =>
  key === undefined ? null : foldIn(foldIn(key, epoch), batch);

const logsOf = async ({ logPriorPrecision }: LaplaceHyperparameters): Promise<number[]> =>
  Array.from(await logPriorPrecision.data());

function layersOf<P>(
  trained: Uncertain,
  uncertain: readonly string[],
  { effectiveParameters }: EvidenceBest<P>,
  logs: readonly number[],
  perDelta: number,
): EvidenceLayer[] {
  const { leaves, paths } = treeFlatten<Tensor>(trained);
  let start = 0;
  return leaves.map(({ size }, index) => {
    const own = logs.length === leaves.length ? logs.slice(index, index + 1) : logs.slice(start, start + size);
    start += size;
    const known = logs.length === 1 ? logs : own;
    const priorPrecision = Math.exp(known.reduce((sum, log) => sum + log, 0) / known.length);
    const name = (paths[index] as readonly string[]).join(".");
    return {
      name,
      parameters: size,
      priorPrecision,
      effectiveParameters: effectiveParameters[uncertain.indexOf(name)],
      weightDecay: priorPrecision * perDelta,
    };
  });
}
