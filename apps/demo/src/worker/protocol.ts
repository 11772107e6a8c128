/**
 * What page and worker say to each other. All training, and the engine with it, is in the worker: the page stays free
 * for its reader, and starts without the engine.
 */
import type {
  AlgorithmRequest,
  Budget,
  EvaluationLine,
  RunConfiguration,
  RunProgress,
  StandardRace,
  TargetRequest,
  TrainingLine,
} from "@thalweg/bench";
import type { HyperparameterSpecs, OptimizerRecord } from "@thalweg/optim";
import type { AdapterDescription, Device } from "@thalweg/tensor";
import type { ProblemDefaults } from "@thalweg/workloads";

/** An optimizer, as the page shows and checks it. */
export interface OptimizerEntry extends Pick<OptimizerRecord, "name" | "title" | "source" | "year" | "family"> {
  readonly hyperparameters: HyperparameterSpecs;
}

/** A workload, as the page shows it. */
export interface WorkloadEntry {
  readonly name: string;
  readonly title: string;
  readonly dataset: string;
  readonly datasetTitle: string;
  /** What has to be fetched first; 0 for generated data. */
  readonly downloadBytes: number;
  readonly parameters: number;
  readonly metric: "accuracy" | "loss";
  readonly defaults: ProblemDefaults;
  readonly standard: StandardRace | undefined;
}

/** What there is to choose from. */
export interface Catalogue {
  readonly optimizers: readonly OptimizerEntry[];
  readonly workloads: readonly WorkloadEntry[];
}

/** A race, complete with all that decides its numbers. */
export interface RaceRequest {
  readonly workload: string;
  readonly algorithms: readonly AlgorithmRequest[];
  readonly seeds: readonly number[];
  readonly target: TargetRequest | undefined;
  readonly budget: Budget;
  readonly batchSize: number | undefined;
  readonly evaluationInterval: number | undefined;
  readonly trainLogInterval: number | undefined;
}

/** The GPU that the worker has opened. */
export interface OpenedDevice {
  readonly adapter: AdapterDescription;
  readonly limits: Device["limits"];
  readonly features: readonly string[];
}

/** Starts a race. */
export interface StartCommand {
  readonly type: "start";
  readonly request: RaceRequest;
  /** Address of the folder with the files of data sets. */
  readonly dataFolder: string;
  /** Destroys the GPU device once, after so many steps of a run: for tests of what happens then. */
  readonly loseDeviceAfter: number | undefined;
}

/** From the page to the worker. */
export type Command =
  /** Opens the GPU, so that the page can show it. */
  | { readonly type: "open" }
  /** Measures the rate of a matrix product. */
  | { readonly type: "measure" }
  | StartCommand
  | { readonly type: "pause" }
  | { readonly type: "resume" }
  | { readonly type: "stop" };

/** What is new of the run that is going on. After the loss of a device, steps may come again. */
export interface RunUpdate extends Pick<RunProgress, "activity" | "step" | "fraction" | "stepsPerSecond"> {
  readonly training: readonly TrainingLine[];
  readonly evaluations: readonly EvaluationLine[];
}

/** What the model says of some test images. */
export interface PredictionsUpdate {
  readonly configuration: RunConfiguration;
  readonly step: number;
  /** Rows and columns of an image. */
  readonly shape: readonly [rows: number, columns: number];
  /** Grey values, image after image. */
  readonly images: Uint8Array;
  readonly labels: readonly number[];
  readonly predicted: readonly number[];
  /** The probability of the class that is predicted. */
  readonly confidence: readonly number[];
}

/** From the worker to the page. */
export type Report =
  | { readonly type: "catalogue"; readonly catalogue: Catalogue }
  | { readonly type: "device"; readonly device: OpenedDevice }
  | { readonly type: "no-device"; readonly message: string }
  | { readonly type: "measured"; readonly gflops: number; readonly size: number }
  | { readonly type: "not-measured"; readonly message: string }
  /** A file of the data set arrives. */
  | { readonly type: "loading"; readonly file: string; readonly loaded: number; readonly total: number }
  /** All is checked and loaded, and the first run begins. */
  | { readonly type: "started" }
  /** A run begins, or goes on after the loss of a device. */
  | { readonly type: "run"; readonly id: string; readonly configuration: RunConfiguration }
  | { readonly type: "update"; readonly id: string; readonly update: RunUpdate }
  | { readonly type: "predictions"; readonly predictions: PredictionsUpdate }
  /** A run is over. `text` is its record, line by line. */
  | { readonly type: "record"; readonly id: string; readonly path: string; readonly text: string }
  /** The GPU went away; the race goes on from the last checkpoint on a new one. */
  | { readonly type: "device-lost"; readonly message: string }
  | { readonly type: "finished"; readonly stopped: boolean }
  | { readonly type: "failed"; readonly message: string };
