/**
 * What a record holds.
 *
 * A record is one file of JSON lines. The first line is the header: everything that is needed to repeat the run. Then
 * lines are only ever appended, in the order in which things happened. The last line of a run that came to its end is
 * the end line; a file without one belongs to a run that was killed and can be resumed.
 */

/** The version of the line format. A reader refuses files with a larger one. */
export const recordVersion = 1;

/** How a run ended. */
export type RunStatus =
  /** Trained for as long as was planned; there was no target. */
  | "finished"
  /** Reached the target and stopped there. */
  | "reached"
  /** Used up its budget without reaching the target. */
  | "budget"
  /** The training loss became NaN or infinite. */
  | "diverged"
  /** Stopped from outside, by a signal or by an error. */
  | "killed";

/** How long a run may train. The first limit that is met ends it. */
export interface Budget {
  readonly seconds?: number | undefined;
  readonly epochs?: number | undefined;
  readonly steps?: number | undefined;
}

/** The three phases of an evaluation. `trainEval` is a fixed part of the training set. */
export const phases = ["trainEval", "valid", "test"] as const;

/** One of {@link phases}. */
export type Phase = (typeof phases)[number];

/** A quantity that a target can be set on. */
export type Metric = "accuracy" | "loss";

/** The value that a run has to reach: at least, for an accuracy; at most, for a loss. */
export interface Target {
  readonly phase: Phase;
  readonly metric: Metric;
  readonly value: number;
}

/** The value of a hyperparameter, as a record keeps it. */
export type HyperparameterValue = number | string | boolean | null;

/** All that decides the numbers of a run, apart from the device: equal configurations repeat each other. */
export interface RunConfiguration {
  readonly workload: string;
  /** Version of the workload: a change of numbers changes it. */
  readonly workloadVersion: string;
  /** The rule by which training, validation and test set were cut. */
  readonly split: string;
  /** SHA-256 of every data file by its name; of the generating program's output, for generated data. */
  readonly dataChecksums: Readonly<Record<string, string>>;
  readonly optimizer: string;
  /** All hyperparameters, with those that were left at their defaults. */
  readonly hyperparameters: Readonly<Record<string, HyperparameterValue>>;
  /** The learning-rate schedule in words, `constant` if there is none. */
  readonly schedule: string;
  /** Examples a step. */
  readonly batchSize: number;
  /** Steps an epoch. */
  readonly stepsPerEpoch: number;
  /** L2 factor of the workload's regularizer. */
  readonly l2: number;
  readonly seed: number;
  readonly target: Target | null;
  readonly budget: Budget;
  /** Steps between two evaluations. */
  readonly evaluationInterval: number;
  /** Steps between two recorded training losses. */
  readonly trainLogInterval: number;
}

/** Where a run took place. It may change the last bits of a result, and all of its times. */
export interface RunEnvironment {
  /** The adapter in words, and whether it is a software adapter. */
  readonly adapter: { readonly description: string; readonly fallback: boolean };
  /** Versions of the packages that took part. */
  readonly packages: Readonly<Record<string, string>>;
  /** Node or browser with its version. */
  readonly runtime: string;
  readonly platform: string;
  /** True if measurements on the adapter chose variants of kernels; missing where heuristics did. */
  readonly tuned?: boolean;
}

/** First line of every record. */
export interface HeaderLine {
  readonly type: "header";
  readonly version: number;
  /** Hash of the configuration, in the names of the record and its checkpoint. */
  readonly id: string;
  /** When the run was started, ISO 8601. */
  readonly startedAt: string;
  readonly configuration: RunConfiguration;
  readonly environment: RunEnvironment;
}

/** Averages over all full batches of one phase. */
export interface PhaseResult {
  /** Mean loss over the examples, with the regularizer. */
  readonly loss: number;
  /** The same without the regularizer. */
  readonly dataLoss: number;
  /** Fraction of correct examples, or null for problems that have no accuracy. */
  readonly accuracy: number | null;
}

/**
 * State after `step` steps. The first one is at step 0, before training. Evaluations inside of an epoch, which look for
 * the target, hold its phase only.
 */
export interface EvaluationLine {
  readonly type: "evaluation";
  readonly step: number;
  readonly epoch: number;
  /** Wall-clock seconds spent on training so far: without evaluation, compilation and data preparation. */
  readonly trainingSeconds: number;
  /** Seconds that the GPU was busy with training so far, or null where the adapter has no timestamps. */
  readonly gpuSeconds: number | null;
  /** Seconds that this evaluation took. */
  readonly evaluationSeconds: number;
  /** Value of the regularizer. */
  readonly regularizer: number;
  readonly phases: Readonly<Partial<Record<Phase, PhaseResult>>>;
}

/** Loss of one training batch, before the step's update. */
export interface TrainingLine {
  readonly type: "training";
  readonly step: number;
  /** With the regularizer. */
  readonly loss: number;
  readonly accuracy: number | null;
}

/** A checkpoint of the state after `step` steps has been written and is safe on disk. */
export interface CheckpointLine {
  readonly type: "checkpoint";
  readonly step: number;
  /** File name, beside the record. */
  readonly file: string;
  readonly bytes: number;
}

/** The run goes on from the checkpoint at `step`: what the lines above say about later steps is void. */
export interface ResumeLine {
  readonly type: "resume";
  /** Null if there was no checkpoint yet, so that the run starts from the beginning and all lines above are void. */
  readonly step: number | null;
  readonly at: string;
  readonly environment: RunEnvironment;
}

/** Wall-clock seconds of a run, by what they were spent on. */
export interface RunTimes {
  readonly training: number;
  readonly evaluation: number;
  readonly compilation: number;
  readonly data: number;
}

/** Training effort up to the first evaluation that met the target. */
export interface TimeToTarget {
  readonly seconds: number;
  readonly steps: number;
  readonly epochs: number;
}

/** Last line of every run that came to its end. */
export interface EndLine {
  readonly type: "end";
  readonly status: RunStatus;
  readonly step: number;
  readonly epoch: number;
  /** The step whose training loss was not finite, for a diverged run. */
  readonly divergedStep: number | null;
  readonly timeToTarget: TimeToTarget | null;
  readonly seconds: RunTimes;
  readonly gpuSeconds: number | null;
  /** Why, in a sentence, where the status does not say it all. */
  readonly reason: string | null;
}

/** Any line of a record. */
export type RecordLine = HeaderLine | EvaluationLine | TrainingLine | CheckpointLine | ResumeLine | EndLine;
