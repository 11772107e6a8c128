import type { KernelProblem } from "./cases/kernels";
import type { TrainingProblem } from "./cases/training";

/** An engine under test. Each module in `engines/` exports one `create` function that resolves to this. */
export interface Engine {
  /** As in the tables and in the option `--engines`. */
  readonly name: string;
  readonly version: string;
  /** Uploads parameters and batches and gets ready to train; runs no step. */
  train(problem: TrainingProblem): Promise<Training>;
  /** Uploads operands; runs nothing. */
  kernel(problem: KernelProblem): Promise<KernelRun>;
}

/** Work that can be repeated and timed. */
export interface Repeatable {
  /**
   * Sends the work to the device once. Neither the call nor the promise (for engines that send later in the event loop)
   * waits for the device.
   */
  run(): void | Promise<void>;
  /** Resolves when all that was sent has been computed. */
  wait(): Promise<void>;
  /** For engines in a process of their own: milliseconds of `count` runs and a wait, by their clock. */
  time?(count: number): Promise<number>;
  /** Kernels of one more run with their times on the GPU, where the engine and the adapter can tell. */
  profile?(): Promise<readonly KernelTime[]>;
  /** Memory of one run as the engine plans it, where it can tell. */
  plannedBytes?(): { readonly peak: number; readonly lowerBound: number };
  /** Largest number of bytes that were in use on the device, for engines that do not use WebGPU and can tell. */
  peakBytes?(): Promise<number | undefined>;
  /** Gives the device memory back. */
  dispose(): void;
}

/** A network in training. A run is a step: forward, mean softmax cross entropy, backward, momentum. Batches are taken in turn. */
export interface Training extends Repeatable {
  /** Loss of the last step, before its update. Resolves when all queued work has ended. */
  loss(): Promise<number>;
}

/** A single operation. */
export interface KernelRun extends Repeatable {
  /** The results of the last run, in the layouts that the operation names. */
  results(): Promise<readonly Float32Array[]>;
}

/** One kernel of an engine. */
export interface KernelTime {
  readonly label: string;
  /** Nanoseconds; NaN if it could not be measured. */
  readonly ns: number;
  readonly flops: number;
  readonly bytes: number;
}
