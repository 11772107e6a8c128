import { type Device, init, type ProfileRow, type Tensor, treeLeaves } from "@thalweg/tensor";
import { openSession, type RaceOptions } from "../race";
import { quartiles } from "../report/statistics";
import type { AlgorithmRequest, Protocol } from "./configuration";
import { initialState, type Programs, runKeys, type TrainingState, usualRefresh } from "./programs";

/** What to measure. */
export interface ProfileOptions extends Protocol, Pick<RaceOptions, "workload" | "split" | "files" | "openDevice"> {
  readonly algorithm: AlgorithmRequest;
  /** Steps that are measured, after the warm-up. Default 50. */
  readonly steps?: number | undefined;
}

/** One kernel of the training step. */
export interface KernelProfile {
  readonly label: string;
  readonly workgroups: readonly number[];
  /** Floating-point operations, a fused multiply-add as two. */
  readonly flops: number;
  /** Bytes that it has to read and write at least. */
  readonly bytes: number;
  /** Median GPU time in microseconds; null where the adapter has no timestamps. */
  readonly microseconds: number | null;
}

/** The cost of one training step after warm-up. Counts are per step. */
export interface StepProfile {
  readonly workload: string;
  readonly optimizer: string;
  readonly batchSize: number;
  readonly adapter: string;
  readonly steps: number;
  readonly dispatches: number;
  readonly submits: number;
  readonly buffersCreated: number;
  readonly bindGroupsCreated: number;
  readonly pipelinesCreated: number;
  readonly readbacks: number;
  /** Bytes that the step holds on the device: parameters, optimizer state, temporaries. */
  readonly bytesPeak: number;
  /** Bytes that the same order of kernels needs at least. */
  readonly bytesLowerBound: number;
  /** Wall-clock milliseconds, median over groups of steps. */
  readonly msPerStep: number;
  readonly msPerStepQuartiles: readonly [lower: number, upper: number];
  readonly kernels: readonly KernelProfile[];
}

/** Steps before anything is counted, by which time every buffer and bind group has been made. */
const warmUpSteps = 8;
/** Parts into which the measured steps are divided for the quartiles. */
const groups = 5;
/** Steps whose kernels are timed one by one. */
const timedSteps = 5;

/**
 * Measures the compiled training step of a workload with an optimizer: counts over `steps` steps, wall-clock time, and
 * the GPU time of every kernel where the adapter has timestamps.
 *
 * @returns the profile, and the rows of one timed step for a trace (none without timestamps).
 */
export async function profileStep(
  options: ProfileOptions,
): Promise<{ readonly profile: StepProfile; readonly rows: readonly ProfileRow[] }> {
  const { algorithm, steps = 50 } = options;
  const session = await openSession(options);
  const programs = session.programsFor(algorithm, options);
  const device = await (options.openDevice ?? init)();
  const { data } = await session.upload();
  const keys = runKeys(0);
  const stepKeys = { shuffling: keys.shuffling, sampling: keys.sampling };

  let state = initialState(programs.parts, keys);
  let done = 0;
  const run = async (count: number): Promise<number> => {
    const start = performance.now();
    for (const end = done + count; done < end; done++) state = programs.train(state, data, stepKeys, done);
    await device.idle();
    return (performance.now() - start) / count;
  };
  await programs.warmUp(data, keys);
  await run(warmUpSteps);
  const before = device.counters.snapshot();
  const perGroup = Math.max(1, Math.floor(steps / groups));
  const times: number[] = [];
  for (let group = 0; group < groups; group++) times.push(await run(perGroup));
  const counted = device.counters.since(before);
  const measured = perGroup * groups;

  const timed = await timeKernels(device, programs, state, data, stepKeys);
  // The usual step; refreshes are in the counts and times above.
  await programs.step.prepare(timed.state, data, stepKeys, usualRefresh(programs.parts.optimizer));
  const { bytesPeak, bytesLowerBound, kernels } = programs.step.statistics();
  const ms = quartiles(times);
  const { vendor, architecture, description } = device.adapter;
  const profile: StepProfile = {
    workload: session.problem.name,
    optimizer: algorithm.optimizer,
    batchSize: programs.parts.batchSize,
    adapter: [vendor, architecture, description].filter((part) => part !== "").join(" "),
    steps: measured,
    dispatches: counted.dispatches / measured,
    submits: counted.submits / measured,
    buffersCreated: counted.buffersCreated / measured,
    bindGroupsCreated: counted.bindGroupsCreated / measured,
    pipelinesCreated: counted.pipelinesCreated / measured,
    readbacks: counted.readbacks / measured,
    bytesPeak,
    bytesLowerBound,
    msPerStep: ms.median,
    msPerStepQuartiles: [ms.lower, ms.upper],
    kernels: kernels.map(({ label, workgroups, flops, bytes }, index) => ({
      label,
      workgroups,
      flops,
      bytes,
      microseconds: timed.medians[index] ?? null,
    })),
  };
  for (const leaf of treeLeaves<Tensor>([timed.state, data])) leaf.dispose();
  programs.dispose();
  return { profile, rows: timed.rows };
}

async function timeKernels(
  device: Device,
  programs: Programs,
  initial: TrainingState,
  ...rest: [Parameters<Programs["step"]>[1], Parameters<Programs["step"]>[2]]
): Promise<{ state: TrainingState; rows: readonly ProfileRow[]; medians: readonly (number | undefined)[] }> {
  let state = initial;
  let rows: readonly ProfileRow[] = [];
  const usual = usualRefresh(programs.parts.optimizer);
  const samples: number[][] = [];
  if (device.features.has("timestamp-query")) {
    for (let step = 0; step < timedSteps; step++) {
      ({ result: state, rows } = await programs.step.profile(state, ...rest, usual));
      rows.forEach(({ ns }, index) => {
        samples[index] ??= [];
        if (!Number.isNaN(ns)) samples[index].push(ns / 1000);
      });
    }
  }
  return { state, rows, medians: samples.map((times) => (times.length > 0 ? quartiles(times).median : undefined)) };
}
