import type { Case } from "./cases";
import { createProblem } from "./cases";
import type { Counts } from "./counting";
import { countCalls } from "./counting";
import type { Engine, Training } from "./engine";
import { quantile } from "./statistics";

/** One line of the result: an engine on a case. Counts are per training step. */
export interface Row extends Counts {
  readonly case: string;
  readonly engine: string;
  readonly version: string;
  readonly adapter: string;
  /** Median over the rounds of the time of one step, in milliseconds. */
  readonly msMedian: number;
  /** Lower and upper quartile over the rounds. */
  readonly msQuartiles: readonly [number, number];
  /** Time of the first step with reading its loss: tracing, compiling shaders, allocating. */
  readonly firstStepMs: number;
  /** Losses of the first steps, which must agree between the engines. */
  readonly losses: readonly number[];
  /** Largest relative difference of these losses to the median of all engines. */
  readonly lossDeviation: number;
  /** Whether {@link lossDeviation} is within the tolerance. If not, the times compare different computations and are void. */
  readonly agrees: boolean;
  readonly steps: number;
  readonly rounds: number;
}

export interface MeasureOptions {
  /** Steps per engine and round. */
  readonly steps: number;
  readonly rounds: number;
  readonly seed: number;
  readonly adapter: string;
  /** Called when an engine has run its first step, and after every round. */
  readonly onProgress: (message: string) => void;
}

/** Batches on the device that training goes through in turn. */
const batchCount = 4;
/** Steps whose losses are read one by one and compared, the first included. */
const comparedSteps = 12;
/** Steps whose calls of WebGPU are counted. */
const countedSteps = 4;
/**
 * Largest accepted relative difference between losses. Single-precision sums of up to 3136 terms in different orders differ by
 * about 1e-6 after twelve steps; ten times that is allowed. A momentum of 0.89 instead of 0.9 shows as 5e-4.
 */
const lossTolerance = 2e-5;

/** Trains one network with all engines, a round of some steps each in turn, and returns a row per engine. */
export async function measureCase(network: Case, engines: readonly Engine[], options: MeasureOptions): Promise<Row[]> {
  const problem = createProblem(network, { seed: options.seed, batchCount });
  const contestants: {
    engine: Engine;
    training: Training;
    firstStepMs: number;
    losses: number[];
    counts: Counts;
    samples: number[];
  }[] = [];

  for (const engine of engines) {
    const training = await engine.prepare(problem);
    const start = performance.now();
    await training.step();
    const losses = [await training.loss()];
    const firstStepMs = performance.now() - start;
    options.onProgress(`${network.name}: ${engine.name} took ${firstStepMs.toFixed(0)} ms for the first step`);
    while (losses.length < comparedSteps) {
      await training.step();
      losses.push(await training.loss());
    }
    const counts = await countCalls(async () => {
      for (let index = 0; index < countedSteps; index++) await training.step();
    });
    await training.loss();
    contestants.push({ engine, training, firstStepMs, losses, counts, samples: [] });
  }

  for (let round = 0; round < options.rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      // Another engine begins each round, so that none always runs after the same neighbour.
      const contestant = contestants[(round + turn) % contestants.length];
      if (contestant === undefined) continue;
      contestant.samples.push(await timeSteps(contestant.training, options.steps));
    }
    options.onProgress(`${network.name}: round ${round + 1} of ${options.rounds}`);
  }

  const agreement = compareLosses(contestants.map(({ losses }) => losses));
  const rows = contestants.map(({ engine, firstStepMs, losses, counts, samples }, index) => ({
    case: network.name,
    engine: engine.name,
    version: engine.version,
    adapter: options.adapter,
    msMedian: quantile(samples, 0.5),
    msQuartiles: [quantile(samples, 0.25), quantile(samples, 0.75)] as const,
    firstStepMs,
    ...perStep(counts),
    losses,
    lossDeviation: agreement[index] ?? Number.NaN,
    agrees: (agreement[index] ?? Number.NaN) <= lossTolerance,
    steps: options.steps,
    rounds: options.rounds,
  }));
  for (const { training } of contestants) training.dispose();
  return rows;
}

/** Milliseconds per step of `steps` steps queued one after another and then awaited. */
async function timeSteps(training: Training, steps: number): Promise<number> {
  const start = performance.now();
  for (let index = 0; index < steps; index++) await training.step();
  await training.loss();
  return (performance.now() - start) / steps;
}

/** For every engine the largest relative difference between its losses and the median of all engines at the same step. */
export function compareLosses(trajectories: readonly (readonly number[])[]): number[] {
  return trajectories.map((losses) =>
    losses.reduce((worst, loss, step) => {
      const middle = quantile(
        trajectories.map((other) => other[step] ?? Number.NaN),
        0.5,
      );
      const deviation = Math.abs(loss - middle) / Math.abs(middle);
      // A loss that is not a number must not look like agreement.
      return deviation <= worst ? worst : Number.isNaN(deviation) ? Number.POSITIVE_INFINITY : deviation;
    }, 0),
  );
}

function perStep(counts: Counts): Counts {
  const entries = Object.entries(counts).map(([name, count]) => [name, count / countedSteps] as const);
  return Object.fromEntries(entries) as unknown as Counts;
}
