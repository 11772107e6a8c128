import type { Problem } from "./cases";

/** An engine under test. Each module in `engines/` exports one `create` function that resolves to this. */
export interface Engine {
  readonly name: string;
  readonly version: string;
  /** Uploads parameters and batches and gets ready to train; runs no step. */
  prepare(problem: Problem): Promise<Training>;
}

/** A network in training. The batches are taken in turn, one per step. */
export interface Training {
  /**
   * Sends one step to the device: forward pass, mean softmax cross entropy, backward pass, momentum update. Neither the call nor
   * the promise (for engines that send later in the event loop) waits for the device.
   */
  step(): void | Promise<void>;
  /** Loss of the last step, before its update. Resolves when all queued work has ended, so it also ends a timed stretch. */
  loss(): Promise<number>;
  /** Gives the device memory back. */
  dispose(): void;
}
