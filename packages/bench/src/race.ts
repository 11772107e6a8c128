import { type Device, init, evaluate as realize, type Tensor, treeLeaves } from "@thalweg/tensor";
import {
  datasetTensors,
  type FileReader,
  findProblem,
  loadDataset,
  type SplitVersion,
  type TestProblem,
} from "@thalweg/workloads";
import { defaultFiles } from "#platform";
import type { RunRecord } from "./records/reader";
import type { RunConfiguration } from "./records/schema";
import { memoryStore, type RunStore } from "./records/store";
import { aggregate, type Race } from "./report/aggregate";
import { type AlgorithmRequest, configureRun, type Protocol } from "./run/configuration";
import { createOptimizer, findOptimizer } from "./run/optimizer";
import { createPrograms, type Programs } from "./run/programs";
import { type RunProgress, runTraining, type TrainingOptions } from "./run/train";

/** What to compare, and how. */
export interface RaceOptions extends Protocol, Pick<TrainingOptions, "environment" | "hold" | "inspect"> {
  /** Name of a workload, or one of your own. */
  readonly workload: string | TestProblem;
  /** Optimizers by name, or with hyperparameters. */
  readonly algorithms: readonly (string | AlgorithmRequest)[];
  /** Default 42, 43, 44. */
  readonly seeds?: readonly number[] | undefined;
  /**
   * Where the records are kept. Runs that it holds already are not repeated, interrupted ones go on. Default: memory, which
   * is gone with the result; in Node `folderStore(folder)` keeps them.
   */
  readonly store?: RunStore | undefined;
  /** Reads the files of data sets. Default: in Node from the folders that the command line looks in, else from the web. */
  readonly files?: FileReader | undefined;
  /** How training files are divided. Default `"1.2"`. */
  readonly split?: SplitVersion | undefined;
  /** Opens the default device, after all names and values have been checked. Default: `init`. */
  readonly openDevice?: (() => Promise<Device>) | undefined;
  /** Called when everything is checked and the first run is about to start. */
  readonly onStart?: (() => void) | undefined;
  /** Stops the run that is going on, with a record of what it did, and starts no other. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  /** Called at the end of each run. */
  readonly onRun?: ((record: RunRecord) => void) | undefined;
}

/** What a race gives. */
export interface RaceResult {
  /** The results, ranked; undefined if it was stopped before its first run. */
  readonly race: Race | undefined;
  /** In the order in which they ran. */
  readonly records: readonly RunRecord[];
  /** True if `signal` stopped it before all runs were over. */
  readonly interrupted: boolean;
}

/**
 * Trains every algorithm with every seed on one workload, one run after the other, and compares them by the time they
 * need to reach the target.
 *
 * Seeds are the outer loop, and every seed starts with another algorithm, so that a machine that becomes slower or
 * faster in the course of a race does so for all algorithms alike.
 *
 * @throws UsageError for names and values that do not exist, before anything is trained; DataError for missing data.
 */
export async function race(options: RaceOptions): Promise<RaceResult> {
  const {
    store = memoryStore(),
    seeds = [42, 43, 44],
    environment,
    signal,
    hold,
    inspect,
    onProgress,
    onRun,
  } = options;
  const session = await openSession(options);
  const { problem, dataset } = session;
  const algorithms = options.algorithms.map(
    (algorithm): AlgorithmRequest => (typeof algorithm === "string" ? { optimizer: algorithm } : algorithm),
  );
  // Every configuration is made, and so checked, before the first run starts.
  const contenders = algorithms.map((algorithm) => ({
    configurations: new Map(seeds.map((seed) => [seed, configureRun(problem, dataset, algorithm, options, seed)])),
    programs: session.programsFor(algorithm, options),
  }));
  const device = await (options.openDevice ?? init)();
  options.onStart?.();
  const { data, seconds: uploadSeconds } = await session.upload();

  const records: RunRecord[] = [];
  for (const [round, seed] of seeds.entries()) {
    for (let turn = 0; turn < contenders.length; turn++) {
      if (signal?.aborted) break;
      // The index is a remainder, and every contender has a configuration for every seed.
      const { configurations, programs } = contenders[
        (turn + round) % contenders.length
      ] as (typeof contenders)[number];
      const record = await runTraining({
        configuration: configurations.get(seed) as RunConfiguration,
        programs,
        device,
        data,
        dataSeconds: records.length === 0 ? session.loadSeconds + uploadSeconds : 0,
        store,
        environment,
        signal,
        hold,
        inspect,
        onProgress,
      });
      records.push(record);
      onRun?.(record);
    }
  }
  for (const { programs } of contenders) programs.dispose();
  for (const leaf of treeLeaves<Tensor>(data)) leaf.dispose();
  const interrupted = signal?.aborted ?? false;
  // There is one race, as all runs have one workload and one target.
  return { race: aggregate(records)[0], records, interrupted };
}

/** A workload with its data in memory. */
export async function openSession({
  workload,
  split,
  files = defaultFiles(),
}: Pick<RaceOptions, "workload" | "split" | "files">) {
  const problem = typeof workload === "string" ? findProblem(workload) : workload;
  const start = performance.now();
  const dataset = await loadDataset(problem.dataset, { files, split });
  const loadSeconds = (performance.now() - start) / 1000;
  return {
    problem,
    dataset,
    loadSeconds,
    /** Programs for an algorithm: compiled when they are first used. */
    programsFor(algorithm: AlgorithmRequest, protocol: Protocol): Programs {
      const configuration = configureRun(problem, dataset, algorithm, protocol, 0);
      const { hyperparameters, batchSize, l2, stepsPerEpoch, trainLogInterval } = configuration;
      const record = findOptimizer(algorithm.optimizer);
      const optimizer = createOptimizer(record, hyperparameters, algorithm.schedule, stepsPerEpoch);
      return createPrograms({ problem, dataset, optimizer, batchSize, l2, trainLogInterval });
    },
    /** Puts the data on the device. */
    async upload() {
      const begin = performance.now();
      const data = datasetTensors(dataset);
      await realize(treeLeaves<Tensor>(data));
      return { data, seconds: (performance.now() - begin) / 1000 };
    },
  };
}
