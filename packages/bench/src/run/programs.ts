import { hvp, valueAndGrad } from "@thalweg/autograd";
import {
  applyUpdates,
  evalParams,
  type GradientTransformation,
  type OptimizerState,
  type Refresh,
} from "@thalweg/optim";
import {
  bernoulli,
  compile,
  concat,
  foldIn,
  full,
  iota,
  type Key,
  key,
  evaluate as realize,
  splitKeys,
  stack,
  type Tensor,
  tensor,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
  UnsupportedError,
  where,
} from "@thalweg/tensor";
import {
  batchCount,
  type DataTensors,
  gatherBatch,
  type ImageDataset,
  type TensorTree,
  type TestProblem,
  trainingIndices,
} from "@thalweg/workloads";
import { problemCurvature } from "./curvature";

/** All that a training step changes. It is donated to each step and replaced by what the step returns. */
export interface TrainingState {
  readonly params: TensorTree;
  /** The problem's own state, such as batch-norm averages. */
  readonly model: TensorTree;
  /** With the number of updates, which is that of the steps done: u32 scalar. A counter of its own would cost a dispatch. */
  readonly optimizer: OptimizerState;
  /** First step whose loss was not finite, or {@link neverDiverged}: u32 scalar. */
  readonly divergedAt: Tensor;
  /** Loss and accuracy of the last {@link historyLength} logged steps, a ring: f32 `[historyLength, 2]`. */
  readonly history: Tensor;
}

/** Value of {@link TrainingState.divergedAt} while all losses were finite. */
export const neverDiverged = 2 ** 32 - 1;

/** Entries of the history. At most so many logged steps may pass between two reads. */
export const historyLength = 64;

/** Keys of one run, one per purpose, so that a change of one thing leaves the random numbers of all others alone. */
export interface RunKeys {
  readonly initialization: Key;
  readonly shuffling: Key;
  /** Dropout, augmentation and sampling in training. */
  readonly sampling: Key;
  /** Sampling in evaluation. */
  readonly evaluation: Key;
}

/** The keys that belong to a seed. */
export function runKeys(seed: number): RunKeys {
  const [initialization, shuffling, sampling, evaluation] = splitKeys(key(seed), 4) as [Key, Key, Key, Key];
  return { initialization, shuffling, sampling, evaluation };
}

/** The keys that a training step draws from. */
export type StepKeys = Pick<RunKeys, "shuffling" | "sampling">;

/** Sums over the batches of a phase: f32 `[2]` (loss without regularizer, accuracy), and how many batches: u32 scalar. */
interface EvaluationSums {
  readonly sums: Tensor;
  readonly batch: Tensor;
}

/** What the programs of a run are made of. */
export interface ProgramParts {
  readonly problem: TestProblem;
  readonly dataset: ImageDataset;
  readonly optimizer: GradientTransformation;
  readonly batchSize: number;
  readonly l2: number;
  readonly trainLogInterval: number;
}

/** The compiled programs of a run. Seeds share them: nothing in them depends on a seed. */
export interface Programs extends ReturnType<typeof compilePrograms> {
  readonly parts: ProgramParts;
  /**
   * One training step: `step`, as the optimizer wants it for the step of this index (0, 1, … since the start of the run).
   * The state is donated.
   */
  readonly train: (state: TrainingState, data: DataTensors, keys: StepKeys, index: number) => TrainingState;
  /**
   * Runs every program once on a state that is thrown away, so that all compilation is over before anything is timed:
   * some drivers compile a kernel when it is first dispatched. Kernels are measured here too, if the device is open for
   * that. Later calls do nothing.
   */
  readonly warmUp: (data: DataTensors, keys: RunKeys) => Promise<void>;
  /** Frees the memory that the programs hold. */
  readonly dispose: () => void;
}

/**
 * Makes the programs of a run. Nothing is compiled before a program is first called.
 *
 * `step` is the whole training step, one program: it gathers its batch from the data on the device, differentiates the
 * loss, updates parameters and optimizer, and writes loss and accuracy into the history. An optimizer with rare expensive
 * work has two of them, of which most steps run the one without. `evaluate` adds one batch to the sums of a phase.
 */
export function createPrograms(parts: ProgramParts): Programs {
  const programs = compilePrograms(parts);
  let warmedUp: Promise<void> | undefined;
  const warmUp = (data: DataTensors, keys: RunKeys): Promise<void> => {
    warmedUp ??= runEach(parts, programs, data, keys);
    return warmedUp;
  };
  const dispose = (): void => {
    for (const program of Object.values(programs)) program.dispose();
  };
  const train: Programs["train"] = (state, data, keys, index) =>
    programs.step(state, data, keys, parts.optimizer.refreshesAt(index));
  return { parts, ...programs, train, warmUp, dispose };
}

async function runEach(
  parts: ProgramParts,
  { step, evaluate, regularizer, observe }: ReturnType<typeof compilePrograms>,
  data: DataTensors,
  keys: RunKeys,
): Promise<void> {
  const initial = initialState(parts, keys);
  await realize(treeLeaves<Tensor>(initial));
  const start = tensor(Uint32Array.of(0)).reshape([]);
  const stepKeys = { shuffling: keys.shuffling, sampling: keys.sampling };
  const zeros = emptySums();
  await evaluate.prepare(zeros, initial.params, initial.model, data, start, keys.evaluation);
  const variants = refreshesOf(parts.optimizer);
  for (const refresh of variants) await step.prepare(initial, data, stepKeys, refresh);
  const sums = evaluate(zeros, initial.params, initial.model, data, start, keys.evaluation);
  const penalty = regularizer(initial.params);
  const state = variants.reduce((own, refresh) => step(own, data, stepKeys, refresh), initial);
  const copy = observe(state.history, state.divergedAt);
  await copy.data();
  for (const leaf of treeLeaves<Tensor>([sums, penalty, state, copy])) leaf.dispose();
}

const firstRefreshes = (optimizer: GradientTransformation): readonly Refresh[] =>
  Array.from({ length: 4096 }, (_, step) => optimizer.refreshesAt(step));

/** The programs that a run can need, by what an optimizer says of its first steps. */
const refreshesOf = (optimizer: GradientTransformation): readonly Refresh[] => [...new Set(firstRefreshes(optimizer))];

/** What most steps of an optimizer do of its rare work. */
export function usualRefresh(optimizer: GradientTransformation): Refresh {
  const counts = new Map<Refresh, number>();
  for (const refresh of firstRefreshes(optimizer)) counts.set(refresh, (counts.get(refresh) ?? 0) + 1);
  const [usual] = [...counts].reduce((most, other) => (other[1] > most[1] ? other : most));
  return usual;
}

function compilePrograms(parts: ProgramParts) {
  const { problem, dataset, optimizer, batchSize, l2, trainLogInterval } = parts;
  const curvature = problemCurvature(parts);

  const step = compile(
    (state: TrainingState, data: DataTensors, keys: StepKeys, refresh: Refresh): TrainingState => {
      const { step } = state.optimizer;
      const indices = trainingIndices(dataset, { key: keys.shuffling, step, batchSize });
      const batch = gatherBatch(data, dataset.shape, indices);
      const sampling = foldIn(keys.sampling, step);
      const plain = (params: TensorTree) => {
        const losses = problem.losses(params, state.model, batch, "train", sampling);
        return [losses.perExample.mean().add(problem.regularizer(params, l2)), losses] as const;
      };
      const differentiate = valueAndGrad(plain, { hasAux: true });
      // A step with curvature takes loss and gradient from the same pass; one that measures nothing, from the usual one.
      const at = (params: TensorTree) => curvature?.at({ params, model: state.model, batch, key: sampling });
      const curved = at(state.params);
      const lossAt = (params: TensorTree) => {
        const own = refresh === false ? undefined : at(params);
        if (own !== undefined) return own;
        const [[loss, { accuracy }], gradients] = differentiate(params);
        return { loss, accuracy, gradients };
      };
      const { loss, accuracy, gradients } = lossAt(state.params);
      const { state: model } = problem.losses(state.params, state.model, batch, "train", sampling);
      const [updates, optimizerState] = optimizer.update(gradients, state.optimizer, state.params, {
        loss,
        valueAndGrad(params) {
          const own = lossAt(params as TensorTree);
          return [own.loss, own.gradients];
        },
        curvatureDiagonal: () =>
          hutchinson((params) => plain(params)[0], state.params, foldIn(sampling, curvaturePart)),
        ...(curved && { kronecker: curved.curvature }),
        refresh,
      });
      const finite = loss.isFinite().or(state.divergedAt.notEqual(neverDiverged));
      return {
        params: applyUpdates(state.params, updates),
        model,
        optimizer: optimizerState,
        divergedAt: where(finite, state.divergedAt, step),
        history: logged(state, loss, accuracy, trainLogInterval),
      };
    },
    { donate: [0] },
  );

  const evaluate = compile(
    (total: EvaluationSums, params: TensorTree, model: TensorTree, data: DataTensors, start: Tensor, from: Key) => {
      const indices = total.batch
        .mul(batchSize)
        .add(start)
        .add(iota([batchSize], 0, "u32"));
      const batch = gatherBatch(data, dataset.shape, indices);
      const losses = problem.losses(params, model, batch, "eval", foldIn(from, total.batch));
      const values = stack([losses.perExample.mean(), losses.accuracy ?? zero()], { axis: 0 });
      return { sums: total.sums.add(values), batch: total.batch.add(1) };
    },
    { donate: [0] },
  );

  /** The parameters to evaluate at: those of training themselves, unless the optimizer averages. */
  const evaluationPoint = compile((own: OptimizerState, params: TensorTree) => evalParams(optimizer, own, params));

  const regularizer = compile((params: TensorTree) => problem.regularizer(params, l2));

  /**
   * A copy of what is read while training goes on and donates the original: the bits of the history, then `divergedAt`;
   * u32 `[2 * historyLength + 1]`. As one tensor it takes one read.
   */
  const observe = compile((history: Tensor, divergedAt: Tensor) =>
    concat([history.bitcast("u32").reshape([2 * historyLength]), divergedAt.reshape([1])], { axis: 0 }),
  );

  /**
   * What the model says of single examples, in evaluation mode, for problems with a {@link TestProblem.predictor}.
   *
   * @param indices Positions in the data set: u32 `[n]`.
   * @returns outputs `[n, …terms, C]`, and what they are compared with.
   */
  const predict = compile((params: TensorTree, model: TensorTree, data: DataTensors, indices: Tensor, from: Key) => {
    const { predictor, name } = problem;
    if (predictor === undefined) {
      throw new UnsupportedError(`${name} has no outputs to show: its loss sees more than outputs and targets.`);
    }
    const batch = gatherBatch(data, dataset.shape, indices);
    const outputs = predictor.outputs(params, model, predictor.inputs(batch), "eval", from);
    return { outputs, targets: predictor.targets(batch) };
  });

  return { step, evaluate, evaluationPoint, regularizer, observe, predict };
}

/** State before the first step, lazily. */
export function initialState(parts: ProgramParts, keys: RunKeys): TrainingState {
  const { problem, optimizer } = parts;
  const { params, state } = problem.init(keys.initialization);
  return {
    params,
    model: state,
    optimizer: optimizer.init(params, problemCurvature(parts)?.structure(params, state)),
    divergedAt: tensor(Uint32Array.of(neverDiverged)).reshape([]),
    history: full([historyLength, 2], 0),
  };
}

/** Sums of a phase before its first batch. */
export function emptySums(): EvaluationSums {
  return { sums: full([2], 0), batch: tensor(Uint32Array.of(0)).reshape([]) };
}

/** Steps of an epoch. */
export function stepsPerEpoch({ dataset, batchSize }: Pick<ProgramParts, "dataset" | "batchSize">): number {
  return batchCount(dataset, "train", batchSize);
}

/** Part of the step's key from which the probes of the curvature come. */
const curvaturePart = 0x6375_7276;

/**
 * An unbiased estimate of the Hessian's diagonal: z · Hz with random signs z.
 *
 * @see Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989
 */
function hutchinson(lossOf: (params: TensorTree) => Tensor, params: TensorTree, from: Key): TensorTree {
  const { leaves, structure } = treeFlatten<Tensor>(params);
  const keys = splitKeys(from, leaves.length);
  const signs = leaves.map(({ shape }, index) =>
    bernoulli(keys[index] as Key, 0.5, shape)
      .cast("f32")
      .mul(2)
      .sub(1),
  );
  const products = treeLeaves<Tensor>(hvp(lossOf, params, treeUnflatten(structure, signs) as TensorTree));
  return treeUnflatten(
    structure,
    products.map((product, index) => product.mul(signs[index] as Tensor)),
  ) as TensorTree;
}

/** The history with the step's entry in it, if the step is one of those that are logged. */
function logged(
  { optimizer: { step }, history }: TrainingState,
  loss: Tensor,
  accuracy: Tensor | undefined,
  interval: number,
): Tensor {
  const slot = step.div(interval).rem(historyLength);
  const here = iota([historyLength, 1], 0, "u32").equal(slot).and(step.rem(interval).equal(0));
  return where(here, stack([loss, accuracy ?? zero()], { axis: 0 }), history);
}

const zero = () => full([], 0);
