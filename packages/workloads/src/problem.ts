import type { Key, Tensor, Tree } from "@thalweg/tensor";
import type { Batch } from "./batching";
import type { DatasetName } from "./datasets/registry";

/** How a model behaves: dropout and batch statistics act in `train` only. */
export type Mode = "train" | "eval";

/** A tree whose leaves are tensors. */
export type TensorTree = Tree<Tensor>;

/** What is left as it is in a benchmark. */
export interface ProblemDefaults {
  /** Examples per training step. */
  readonly batchSize: number;
  /** Passes through the training examples. */
  readonly epochs: number;
  /** Factor of the regularizer, 0 if the problem has none. */
  readonly l2: number;
}

/** A parameter as {@link describeProblem} shows it. */
export interface ParameterDescription {
  /** Path in the tree of parameters, such as `conv1.kernel`. */
  readonly path: string;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly count: number;
  /** How it is initialised, in the notation of the problem's source, such as `TN(0.05)`. */
  readonly initializer: string;
  /** Whether the regularizer contains it. */
  readonly decayed: boolean;
}

/** A layer as {@link describeProblem} shows it. */
export interface LayerDescription {
  readonly name: string;
  /** What the layer computes, in words. */
  readonly operation: string;
  /** Shape of the output for one example. */
  readonly outputShape: readonly number[];
  readonly parameters: readonly ParameterDescription[];
}

/** What a problem computes for a batch. */
export interface Losses<State extends TensorTree = TensorTree> {
  /** Loss of each example, without the regularizer: f32 `[batch]`. */
  readonly perExample: Tensor;
  /** Fraction of examples that are right, a f32 scalar; undefined for problems without an accuracy. */
  readonly accuracy?: Tensor | undefined;
  /** The state after this batch; the same as before where a problem has none. */
  readonly state: State;
}

/** Losses that are functions of outputs and targets alone, by the names that `@thalweg/curvature` gives them. */
export type OutputLossName = "crossEntropy" | "squaredError" | "meanSquaredError" | "binaryCrossEntropy";

/**
 * A problem whose losses are a function of a model's outputs and of targets, taken apart: for what has to look at outputs,
 * such as curvature and predictions.
 */
export interface Predictor<Params extends TensorTree = TensorTree, State extends TensorTree = TensorTree> {
  /** `losses` gives the mean of this loss over the loss terms of each example. */
  readonly loss: OutputLossName;
  /** What the model reads of a batch: `[batch, …]`. */
  inputs(batch: Batch): Tensor;
  /** What the loss compares outputs with: classes `[batch, …terms]`, or like the outputs. */
  targets(batch: Batch): Tensor;
  /** `[batch, …terms, C]`: logits, or predicted values. The key drives dropout and sampling, as in `losses`. */
  outputs(params: Params, state: State, inputs: Tensor, mode: Mode, key: Key): Tensor;
  /** The accuracy of `losses`, from outputs and targets: a f32 scalar. Undefined for problems without one. */
  accuracy?(outputs: Tensor, targets: Tensor): Tensor;
}

/**
 * A test problem: data set, model, initialisation, loss, metrics, regularizer, and the batch size and number of epochs
 * that belong to it. It knows no optimizer and no schedule.
 *
 * - The training loss is the mean of `perExample` plus `regularizer`; the optimizer differentiates the sum.
 * - Reported losses contain the regularizer, in all phases.
 * - Incomplete last batches are dropped in all phases, and reported averages are means over full batches.
 *
 * @see Schneider, Balles, Hennig: DeepOBS, a deep learning optimizer benchmark suite. ICLR 2019.
 */
export interface TestProblem<Params extends TensorTree = TensorTree, State extends TensorTree = TensorTree> {
  readonly name: string;
  readonly title: string;
  /** Major: other data or another model. Minor: numbers may change. Patch: no number changes. */
  readonly version: string;
  readonly dataset: DatasetName;
  readonly defaults: ProblemDefaults;
  /** Whether the loss of an example depends on the other examples of its batch, as with batch normalisation. */
  readonly coupled: boolean;
  /** The metric by which runs are compared. */
  readonly metric: "accuracy" | "loss";
  readonly layers: readonly LayerDescription[];
  /** Draws parameters and makes the state before the first step. */
  init(key: Key): { readonly params: Params; readonly state: State };
  /** Losses of a batch. The key drives dropout and sampling; problems without them do not read it. */
  losses(params: Params, state: State, batch: Batch, mode: Mode, key: Key): Losses<State>;
  /** The outputs and the loss apart; undefined for problems whose loss sees more than outputs and targets. */
  readonly predictor?: Predictor<Params, State> | undefined;
  /** `0.5 * l2 *` the sum of squares of the decayed parameters: a f32 scalar. Default factor: the problem's. */
  regularizer(params: Params, l2?: number): Tensor;
}
