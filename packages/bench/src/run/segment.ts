import type { Device } from "@thalweg/tensor";
import type { DataTensors } from "@thalweg/workloads";
import type { TrainingLine } from "../records/schema";
import { historyLength, neverDiverged, type Programs, type RunKeys, type TrainingState } from "./programs";

/** The steps between two evaluations. */
export interface SegmentOptions {
  readonly programs: Programs;
  readonly device: Device;
  readonly data: DataTensors;
  readonly keys: RunKeys;
  /** State after `from` steps. It is donated: only the returned one may be used afterwards. */
  readonly state: TrainingState;
  readonly from: number;
  readonly until: number;
  /** Seconds after which the segment ends early. */
  readonly seconds: number;
  readonly now: () => number;
  readonly signal: AbortSignal | undefined;
  /** Asked between chunks: a promise holds the segment until it resolves, off its clock. */
  readonly hold: (() => Promise<void> | undefined) | undefined;
  /** Rate of the segment before, from which the size of the first chunk follows. */
  readonly stepsPerSecond: number | undefined;
  /** Called whenever losses have come back from the device. */
  readonly onChunk: (chunk: {
    readonly step: number;
    /** The losses that came back with it. */
    readonly lines: readonly TrainingLine[];
    readonly stepsPerSecond: number;
  }) => void;
}

/** What a segment did. */
export interface Segment {
  readonly state: TrainingState;
  /** Steps done since the start of the run; fewer than `until` if the segment ended early. */
  readonly step: number;
  /** Wall-clock seconds, from an idle device to an idle device. */
  readonly seconds: number;
  readonly lines: readonly TrainingLine[];
  /** First step whose loss was not finite. */
  readonly divergedAt: number | undefined;
}

/** A chunk of steps should take this many milliseconds: often enough for progress, seldom enough to cost nothing. */
const chunkMs = 120;

/**
 * Trains from one step to another. Steps are queued in chunks; the losses of a chunk are read while the device works on
 * the next one, so that it never waits for the host, and the host is never more than two chunks ahead.
 */
export async function trainSegment(options: SegmentOptions): Promise<Segment> {
  const { programs, device, data, keys, from, until, now, signal, hold, onChunk } = options;
  const { trainLogInterval, problem } = programs.parts;
  const stepKeys = { shuffling: keys.shuffling, sampling: keys.sampling };
  const lines: TrainingLine[] = [];
  let { state } = options;
  let step = from;
  let divergedAt: number | undefined;

  await device.idle();
  const start = now();
  let held = 0;
  const elapsed = () => (now() - start - held) / 1000;
  const chunkAt = (rate: number) =>
    Math.max(1, Math.min(Math.round((rate * chunkMs) / 1000), historyLength * trainLogInterval));
  let chunk = options.stepsPerSecond === undefined ? 4 : chunkAt(options.stepsPerSecond);
  let pending: Promise<Observation> | undefined;

  const receive = async (arriving: Promise<Observation>): Promise<void> => {
    const { first, end, history, diverged } = await arriving;
    // Over the whole segment: two chunks may arrive at almost the same time, which says nothing about their steps.
    const stepsPerSecond = (end - from) / elapsed();
    const before = lines.length;
    if (diverged !== neverDiverged) divergedAt = diverged;
    for (
      let logged = Math.ceil(first / trainLogInterval) * trainLogInterval;
      logged < end;
      logged += trainLogInterval
    ) {
      if (logged > diverged) break;
      const slot = (logged / trainLogInterval) % historyLength;
      const loss = history[2 * slot] ?? Number.NaN;
      const accuracy = problem.metric === "accuracy" ? (history[2 * slot + 1] ?? Number.NaN) : null;
      lines.push({ type: "training", step: logged, loss, accuracy });
    }
    onChunk({ step: end, lines: lines.slice(before), stepsPerSecond });
    chunk = Math.min(2 * chunk, chunkAt(stepsPerSecond));
  };

  const drain = async (): Promise<void> => {
    const last = pending;
    pending = undefined;
    if (last !== undefined) await receive(last);
  };

  const mayGoOn = () => step < until && divergedAt === undefined && !signal?.aborted && elapsed() < options.seconds;
  while (mayGoOn()) {
    const release = hold?.();
    if (release !== undefined) {
      await drain();
      await device.idle();
      const from = now();
      await release;
      held += now() - from;
      continue;
    }
    const first = step;
    const end = Math.min(step + chunk, until);
    for (; step < end; step++) state = programs.train(state, data, stepKeys, step);
    const reading = observe(programs, state, first, end);
    // Where the reading before it fails, this one fails too, and nobody waits for it any more.
    reading.catch(() => undefined);
    if (pending !== undefined) await receive(pending);
    pending = reading;
  }
  await drain();
  await device.idle();
  return { state, step, seconds: elapsed(), lines, divergedAt };
}

/** What came back from the device after a chunk: the steps `first` to `end - 1`. */
interface Observation {
  readonly first: number;
  readonly end: number;
  readonly history: ArrayLike<number>;
  readonly diverged: number;
}

async function observe(programs: Programs, state: TrainingState, first: number, end: number): Promise<Observation> {
  using copy = programs.observe(state.history, state.divergedAt);
  const words = Uint32Array.from(await copy.data());
  return { first, end, history: new Float32Array(words.buffer), diverged: words[2 * historyLength] ?? neverDiverged };
}
