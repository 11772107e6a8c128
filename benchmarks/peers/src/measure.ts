import type { KernelCase, Reference } from "./cases/kernels";
import { createKernelProblem, kernelBytes, kernelFlops, kernelReferences } from "./cases/kernels";
import { createTrainingProblem, type TrainingCase } from "./cases/training";
import { type BufferUse, type Counts, countCalls, followBuffers } from "./counting";
import type { Engine, KernelRun, Repeatable, Training } from "./engine";
import { summarizeKernels } from "./profile";
import { uniformGenerator } from "./random";
import type { Measurement, Row } from "./results";
import { quantile } from "./statistics";

export interface MeasureOptions {
  /** Runs per engine and round; without it as many as fill {@link roundMs}. */
  readonly runs: number | undefined;
  /** Milliseconds that a round of one engine shall take about. */
  readonly roundMs: number;
  readonly rounds: number;
  /** Steps whose losses are compared. */
  readonly compared: number;
  /** Examples per training step; without it as the case says. */
  readonly batchSize: number | undefined;
  readonly seed: number;
  /** Whether the adapter computes on the CPU, where batches are smaller. */
  readonly isSoftware: boolean;
  /** Told what is under way before it begins: an engine's name, or nothing for what concerns all. */
  readonly onStage: (stage: { readonly engine?: string; readonly doing: string }) => void;
}

/** How to get an engine; loading may fail as well. */
export interface EngineSource {
  readonly name: string;
  readonly create: () => Promise<Engine>;
}

/** Batches on the device that training goes through in turn. */
const batchCount = 4;
/** Runs whose calls of WebGPU are counted, and whose kernels are timed. */
const countedRuns = 2;
/** Elements of a result that are compared with float64. */
const comparedElements = 2048;
/** Most runs per round, where a run takes microseconds. */
const mostRuns = 2000;

interface Contestant<R extends Repeatable> {
  readonly engine: Engine;
  readonly work: R;
  readonly firstMs: number;
  readonly facts: Partial<Measurement>;
  /** Why it is not timed. */
  error?: string;
  deviation?: number;
  readonly samples: number[];
  runs: number;
}

/** Runs one case with all engines: first each by itself, then compared, then rounds of each in turn. One row per engine. */
export async function measureCase(
  measured: KernelCase | TrainingCase,
  sources: readonly EngineSource[],
  options: MeasureOptions,
): Promise<Row[]> {
  return measured.type === "kernel"
    ? measureKernel(measured, sources, options)
    : measureTraining(measured, sources, options);
}

async function measureTraining(
  measured: TrainingCase,
  sources: readonly EngineSource[],
  options: MeasureOptions,
): Promise<Row[]> {
  const batchSize = options.batchSize ?? measured.batchSize[options.isSoftware ? "software" : "gpu"];
  const problem = createTrainingProblem(measured, { seed: options.seed, batchSize, batchCount });
  const session = new Session<Training>(measured, sources, options);
  await session.prepare(
    (engine) => engine.train(problem),
    async (training) => {
      const losses: number[] = [];
      const start = performance.now();
      await training.run();
      losses.push(await training.loss());
      const firstMs = performance.now() - start;
      while (losses.length < options.compared) {
        await training.run();
        losses.push(await training.loss());
      }
      return { firstMs, facts: { losses, batchSize } };
    },
  );
  const deviations = compareLosses(session.contestants.map(({ facts }) => facts.losses ?? []));
  for (const [index, contestant] of session.contestants.entries()) {
    const deviation = deviations[index] ?? Number.POSITIVE_INFINITY;
    contestant.deviation = deviation / measured.tolerance;
    if (deviation <= measured.tolerance) continue;
    contestant.error = `its losses differ from the median of the engines by ${deviation.toExponential(1)}, more than ${measured.tolerance}`;
  }
  return session.finish();
}

async function measureKernel(
  measured: KernelCase,
  sources: readonly EngineSource[],
  options: MeasureOptions,
): Promise<Row[]> {
  const problem = createKernelProblem(measured, options.seed);
  const references = kernelReferences(problem);
  const samples = references.map((reference) => sampleReference(reference, options.seed));
  const session = new Session<KernelRun>(measured, sources, options);
  const flops = kernelFlops(measured.operation);
  const bytes = kernelBytes(measured.operation);
  const results = new Map<string, readonly Float32Array[]>();
  await session.prepare(
    (engine) => engine.kernel(problem),
    async (kernel, engine) => {
      const start = performance.now();
      await kernel.run();
      await kernel.wait();
      const firstMs = performance.now() - start;
      results.set(engine.name, await kernel.results());
      return { firstMs, facts: { bytes, ...(flops === undefined ? {} : { flops }) } };
    },
  );
  // The first engine that agrees with float64 where that was computed stands for it everywhere else.
  let trusted: readonly Float32Array[] | undefined;
  for (const contestant of session.contestants) {
    const own = results.get(contestant.engine.name) ?? [];
    contestant.deviation = samples.reduce((worst, sample, index) => Math.max(worst, sample(own[index])), 0);
    if (trusted !== undefined && contestant.deviation <= 1) {
      contestant.deviation = Math.max(contestant.deviation, compareResults(own, trusted, references));
    }
    if (contestant.deviation <= 1) trusted ??= own;
    else contestant.error = `its results differ by ${contestant.deviation.toPrecision(2)} times what rounding explains`;
  }
  return session.finish();
}

/** The engines on one case. */
class Session<R extends Repeatable> {
  readonly contestants: Contestant<R>[] = [];
  readonly #failed: Row[] = [];
  readonly #measured: KernelCase | TrainingCase;
  readonly #sources: readonly EngineSource[];
  readonly #options: MeasureOptions;
  readonly #buffers: BufferUse = followBuffers();

  constructor(measured: KernelCase | TrainingCase, sources: readonly EngineSource[], options: MeasureOptions) {
    this.#measured = measured;
    this.#sources = sources;
    this.#options = options;
  }

  #row(engine: string, version: string): Row {
    const { name, type, description } = this.#measured;
    return { case: name, type, description, engine, version };
  }

  /** Sets every engine up, has it run for the first time, and counts its calls. An engine that fails gets a row that says so. */
  async prepare(
    setUp: (engine: Engine) => Promise<R>,
    begin: (work: R, engine: Engine) => Promise<{ firstMs: number; facts: Partial<Measurement> }>,
  ): Promise<void> {
    for (const { name, create } of this.#sources) {
      this.#options.onStage({ engine: name, doing: "starts" });
      this.#buffers.owner = name;
      let engine: Engine | undefined;
      try {
        engine = await create();
        const work = await setUp(engine);
        this.#options.onStage({ engine: name, doing: "runs for the first time" });
        const { firstMs, facts } = await begin(work, engine);
        this.#options.onStage({ engine: name, doing: "is counted" });
        // What an engine makes once per batch is made by then.
        for (let run = 0; run <= batchCount; run++) await work.run();
        await work.wait();
        const counts = await countCalls(async () => {
          for (let run = 0; run < countedRuns; run++) await work.run();
          await turn();
        });
        await work.wait();
        const peakBytes = (await work.peakBytes?.()) ?? (this.#buffers.peakOf(name) || undefined);
        const planned = work.plannedBytes?.();
        this.contestants.push({
          engine,
          work,
          firstMs,
          facts: {
            ...facts,
            ...(work.time === undefined ? perRun(counts) : {}),
            ...(peakBytes === undefined ? {} : { peakBytes }),
            ...(planned === undefined ? {} : { plannedBytes: planned }),
          },
          samples: [],
          runs: 1,
        });
      } catch (error) {
        this.#failed.push({ ...this.#row(name, engine?.version ?? ""), error: messageOf(error) });
      }
    }
    this.#buffers.stop();
  }

  /** Times those that agree, in turn, and gives a row for each engine. */
  async finish(): Promise<Row[]> {
    const { rounds, roundMs, runs, onStage } = this.#options;
    for (const contestant of this.contestants) {
      if (contestant.error !== undefined) continue;
      onStage({ engine: contestant.engine.name, doing: "warms up" });
      await this.#attempt(contestant, async () => {
        const once = await timeRuns(contestant.work, 1);
        const fitting = Math.min(mostRuns, Math.max(1, Math.round(roundMs / once)));
        contestant.runs = runs ?? fitting;
        // The first estimate is of a cold engine; the round that follows warms it and corrects the estimate.
        if (runs !== undefined || fitting === 1) return;
        const warm = await timeRuns(contestant.work, fitting);
        contestant.runs = Math.min(mostRuns, Math.max(1, Math.round(roundMs / warm)));
      });
    }
    for (let round = 0; round < rounds; round++) {
      for (let place = 0; place < this.contestants.length; place++) {
        // Another engine begins each round, so that none always runs after the same neighbour.
        const contestant = this.contestants[(round + place) % this.contestants.length];
        if (contestant === undefined || contestant.error !== undefined) continue;
        onStage({ engine: contestant.engine.name, doing: `runs round ${round + 1} of ${rounds}` });
        await this.#attempt(contestant, async () => {
          contestant.samples.push(await timeRuns(contestant.work, contestant.runs));
        });
      }
    }
    const rows: Row[] = [];
    for (const contestant of this.contestants) rows.push(await this.#measuredRow(contestant));
    onStage({ doing: "ends" });
    for (const { work } of this.contestants) work.dispose();
    const order = this.#sources.map(({ name }) => name);
    const place = ({ engine }: Row) => order.indexOf(engine);
    return [...rows, ...this.#failed].sort((a, b) => place(a) - place(b));
  }

  async #attempt(contestant: Contestant<R>, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      contestant.error = messageOf(error);
    }
  }

  async #measuredRow(contestant: Contestant<R>): Promise<Row> {
    const { engine, work, firstMs, facts, error, deviation, samples, runs } = contestant;
    const row = {
      ...this.#row(engine.name, engine.version),
      ...facts,
      firstMs,
      ...(deviation === undefined ? {} : { deviation }),
    };
    if (error !== undefined) return { ...row, error };
    this.#options.onStage({ engine: engine.name, doing: "is profiled" });
    const profiles = [];
    for (let run = 0; run < countedRuns && work.profile !== undefined; run++) {
      // Not every adapter has a clock; a table without shares is better than none.
      const kernels = await work.profile().catch(() => undefined);
      if (kernels !== undefined) profiles.push(kernels);
    }
    const profile = summarizeKernels(profiles);
    return {
      ...row,
      msMedian: quantile(samples, 0.5),
      msQuartiles: [quantile(samples, 0.25), quantile(samples, 0.75)],
      ...(profile === undefined ? {} : { profile }),
      runs,
      rounds: samples.length,
    };
  }
}

/** Lets the event loop turn, in which some engines send what they have noted. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, 500);

/** Milliseconds per run of `count` runs queued one after another and then awaited. */
async function timeRuns(work: Repeatable, count: number): Promise<number> {
  if (work.time !== undefined) return (await work.time(count)) / count;
  const start = performance.now();
  for (let run = 0; run < count; run++) await work.run();
  await work.wait();
  return (performance.now() - start) / count;
}

function perRun(counts: Counts): Counts {
  const entries = Object.entries(counts).map(([name, count]) => [name, count / countedRuns] as const);
  return Object.fromEntries(entries) as unknown as Counts;
}

/** For every engine the largest relative difference between its losses and the median of all engines at the same step. */
function compareLosses(trajectories: readonly (readonly number[])[]): number[] {
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

/** Looks at some elements of a result, the first and the last among them: the largest difference in units of the tolerance. */
function sampleReference(reference: Reference, seed: number): (result: Float32Array | undefined) => number {
  const { size, tolerance } = reference;
  const uniform = uniformGenerator(seed + 1);
  // A sum over everything is one element and takes long; a result of few elements is looked at whole.
  const indices =
    size <= comparedElements
      ? Array.from({ length: size }, (_, index) => index)
      : [0, size - 1, ...Array.from({ length: comparedElements - 2 }, () => Math.floor(uniform() * size))];
  const expected = indices.map((index) => reference.at(index));
  const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  return (result) => {
    if (result?.length !== size) return Number.POSITIVE_INFINITY;
    return indices.reduce((worst, index, place) => {
      const difference = Math.abs((result[index] ?? Number.NaN) - (expected[place] ?? Number.NaN)) / scale / tolerance;
      return difference <= worst ? worst : Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    }, 0);
  };
}

/** The largest difference of all elements, in units of twice the tolerance, since both are rounded. */
function compareResults(
  results: readonly Float32Array[],
  others: readonly Float32Array[],
  references: readonly Reference[],
): number {
  let worst = 0;
  for (const [index, { tolerance }] of references.entries()) {
    const [own, other] = [results[index] as Float32Array, others[index] as Float32Array];
    let scale = 0;
    let difference = 0;
    for (let place = 0; place < other.length; place++) {
      const expected = other[place] as number;
      scale = Math.max(scale, Math.abs(expected));
      const here = Math.abs((own[place] as number) - expected);
      if (!(here <= difference)) difference = Number.isNaN(here) ? Number.POSITIVE_INFINITY : here;
    }
    worst = Math.max(worst, difference / scale / (2 * tolerance));
  }
  return worst;
}
