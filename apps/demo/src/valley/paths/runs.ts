import type { OptimizerRecord } from "@thalweg/optim";
import type { Device } from "@thalweg/tensor";
import type { Expression } from "../formula/expression";
import type { Runner } from "../optimizers";
import type { Course } from "./messages";
import { compilePath, type PathProgram, stepsPerCall, structureOf } from "./program";

/** More programs than this are not kept: the one unused for longest goes. */
const keptPrograms = 24;

/** Programs by formula and optimizer: another value of a hyperparameter finds its program compiled. */
export class Programs {
  readonly device: Device;
  readonly #programs = new Map<string, PathProgram>();

  constructor(device: Device) {
    this.device = device;
  }

  /** How many there are. */
  get size(): number {
    return this.#programs.size;
  }

  find(formula: Expression, record: OptimizerRecord, { options }: Runner): PathProgram {
    const key = JSON.stringify([formula, structureOf(record, options)]);
    const known = this.#programs.get(key);
    const program = known ?? compilePath(formula, record, options, this.device);
    // The order of a map is that of insertion: what is used goes to its end.
    this.#programs.delete(key);
    this.#programs.set(key, program);
    for (const [oldest, unused] of this.#programs) {
      if (this.#programs.size <= keptPrograms) break;
      this.#programs.delete(oldest);
      unused.dispose();
    }
    return program;
  }
}

/**
 * Runs one optimizer: yields the path so far after every call of its program, x, y, x, y, … from the start on.
 *
 * @throws ArgumentError for hyperparameters that the optimizer does not have, or that are out of range.
 */
export async function* runPath(
  programs: Programs,
  record: OptimizerRecord,
  runner: Runner,
  { formula, start, steps, noise }: Course,
): AsyncGenerator<{ readonly points: Float32Array<ArrayBuffer>; readonly isComplete: boolean }> {
  const points = new Float32Array(2 * (steps + 1));
  points.set([start.x, start.y]);
  let done = 0;
  for await (const part of programs.find(formula, record, runner).path(runner.options, [start.x, start.y], noise)) {
    points.set(part, 2 * (done + 1));
    done += stepsPerCall;
    const isComplete = done >= steps;
    yield { points: points.slice(0, 2 * (done + 1)), isComplete };
    if (isComplete) return;
  }
}
