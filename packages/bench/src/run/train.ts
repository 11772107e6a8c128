import {
  type Device,
  fromSafetensors,
  evaluate as realize,
  type Tensor,
  toSafetensors,
  treeLeaves,
} from "@thalweg/tensor";
import type { DataTensors } from "@thalweg/workloads";
import { configurationId } from "../records/codec";
import { parseRecord, type RunRecord } from "../records/reader";
import { asRecordErrors, type ExistingRun, findExistingRun } from "../records/resume";
import type {
  EndLine,
  EvaluationLine,
  Phase,
  RunConfiguration,
  RunEnvironment,
  RunStatus,
  RunTimes,
  Target,
  TimeToTarget,
  TrainingLine,
} from "../records/schema";
import { phases, recordVersion } from "../records/schema";
import type { RunStore, StoredRun } from "../records/store";
import { RecordWriter } from "../records/writer";
import { isBetter, metricOf } from "../report/aggregate";
import { describeEnvironment } from "./environment";
import { evaluatePhases } from "./evaluate";
import { initialState, type Programs, type RunKeys, runKeys, type TrainingState } from "./programs";
import { trainSegment } from "./segment";

/** How a run stands, for whoever watches. */
export interface RunProgress {
  readonly configuration: RunConfiguration;
  readonly activity: "compiling" | "training" | "evaluating";
  readonly step: number;
  readonly epoch: number;
  /** Loss and accuracy of the last training batch that was logged. */
  readonly training: TrainingLine | undefined;
  /** The training losses that came back since the last report. */
  readonly fresh: readonly TrainingLine[];
  readonly evaluation: EvaluationLine | undefined;
  readonly stepsPerSecond: number | undefined;
  /** Part of the budget that is used up, from 0 to 1. */
  readonly fraction: number;
}

/** A run between two steps, with what computes on its state: `programs.predict` shows what the model says of examples. */
export interface InspectedMoment {
  readonly configuration: RunConfiguration;
  readonly step: number;
  readonly state: TrainingState;
  readonly programs: Programs;
  readonly data: DataTensors;
  readonly keys: RunKeys;
}

/** What a run needs. */
export interface TrainingOptions {
  readonly configuration: RunConfiguration;
  /** Programs for this configuration; runs that differ only in their seeds share them. */
  readonly programs: Programs;
  readonly device: Device;
  /** The data set on the device. */
  readonly data: DataTensors;
  /** Seconds that loading and uploading the data took, for the record. */
  readonly dataSeconds?: number;
  /** Where the record and its checkpoint are kept. */
  readonly store: RunStore;
  /** What the record says of the place instead of what the platform says of itself, such as a browser's full version. */
  readonly environment?: Partial<RunEnvironment> | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Asked before the first evaluation and between chunks of steps. A promise holds the run until it resolves; that time counts as no training. A run that
   * is held looks at `signal` afterwards.
   */
  readonly hold?: (() => Promise<void> | undefined) | undefined;
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  /** Called after every evaluation, off the clock. It may read what it wants of the state, and keep nothing. */
  readonly inspect?: ((moment: InspectedMoment) => Promise<void>) | undefined;
  /** Milliseconds of a clock that never goes back. Default: `performance.now`. */
  readonly now?: () => number;
}

/**
 * Trains until the target is reached, the budget is used up, the loss is not finite, or `signal` is aborted, and
 * records everything. If the store holds the same run already, a complete one is returned as it is and an
 * interrupted one goes on from its last checkpoint, with the same bits as if it had never stopped.
 *
 * The time to the target is training time: from idle device to idle device between evaluations. Compilation, evaluation,
 * checkpoints and data preparation are outside of it.
 *
 * @throws RecordError if the run's record or checkpoint in the store is damaged. Any error that ends the run is written
 *   to the record before it is thrown.
 */
export async function runTraining(options: TrainingOptions): Promise<RunRecord> {
  const stored = await options.store.open(options.configuration);
  const existing = await findExistingRun(stored);
  if (existing.kind === "complete") return existing.record;
  using writer = await openRecord(options, stored, existing);
  const run = new Run(options, stored, writer);
  try {
    await run.start(existing);
    await run.train();
  } catch (error) {
    await run.end("killed", { reason: error instanceof Error ? error.message : String(error) });
    throw error;
  }
  return parseRecord((await stored.read()) as Uint8Array, stored.path);
}

async function openRecord(
  { configuration, device, environment: known }: TrainingOptions,
  stored: StoredRun,
  existing: ExistingRun,
): Promise<RecordWriter> {
  const environment = describeEnvironment(device, known);
  const at = new Date().toISOString();
  if (existing.kind === "none") {
    const id = configurationId(configuration);
    return RecordWriter.create(stored, {
      type: "header",
      version: recordVersion,
      id,
      startedAt: at,
      configuration,
      environment,
    });
  }
  const writer = await RecordWriter.reopen(stored);
  await writer.append({ type: "resume", step: existing.kind === "resume" ? existing.step : null, at, environment });
  return writer;
}

/** One run between its first line and its last. */
class Run {
  readonly #options: TrainingOptions;
  readonly #stored: StoredRun;
  readonly #writer: RecordWriter;
  readonly #keys: RunKeys;
  readonly #now: () => number;
  readonly #times: { -readonly [K in keyof RunTimes]: number };
  #state: TrainingState | undefined;
  #step = 0;
  #evaluation: EvaluationLine | undefined;
  #trainingLine: TrainingLine | undefined;
  #stepsPerSecond: number | undefined;

  constructor(options: TrainingOptions, stored: StoredRun, writer: RecordWriter) {
    this.#options = options;
    this.#stored = stored;
    this.#writer = writer;
    this.#keys = runKeys(options.configuration.seed);
    this.#now = options.now ?? (() => performance.now());
    this.#times = { training: 0, evaluation: 0, compilation: 0, data: options.dataSeconds ?? 0 };
  }

  /** Compiles, makes or restores the state, and evaluates it if that has not been done. */
  async start(existing: ExistingRun): Promise<void> {
    const { programs, data } = this.#options;
    this.#report("compiling", 0);
    const { value: fresh, seconds } = await this.#timed(async () => {
      await programs.warmUp(data, this.#keys);
      const state = initialState(programs.parts, this.#keys);
      await realizeAll(state);
      return state;
    });
    this.#times.compilation += seconds;
    if (existing.kind !== "resume") {
      this.#state = fresh;
      await this.#options.hold?.();
      await this.#evaluate();
      return;
    }
    this.#state = asRecordErrors(() => fromSafetensors(existing.checkpoint, fresh, this.#stored.checkpoint));
    for (const leaf of treeLeaves<Tensor>(fresh)) leaf.dispose();
    this.#step = existing.step;
    // findExistingRun has made sure that this evaluation is there.
    const evaluation = existing.record.evaluations.find(({ step }) => step === existing.step) as EvaluationLine;
    this.#evaluation = evaluation;
    this.#times.training = evaluation.trainingSeconds;
    this.#times.evaluation = existing.record.evaluations.reduce((sum, line) => sum + line.evaluationSeconds, 0);
  }

  async train(): Promise<void> {
    const { configuration, programs, device, data, signal, hold } = this.#options;
    const { budget, target, evaluationInterval } = configuration;
    const lastStep = stepLimit(configuration);
    while (true) {
      // Looked at before training too: a run may be resumed at its very end.
      const ending = this.#ending(lastStep, target);
      if (ending !== undefined) return this.end(ending);
      if (signal?.aborted) return this.end("killed", { reason: "stopped by a signal" });

      const until = Math.min(lastStep, (Math.floor(this.#step / evaluationInterval) + 1) * evaluationInterval);
      const segment = await trainSegment({
        programs,
        device,
        data,
        keys: this.#keys,
        state: this.#current(),
        from: this.#step,
        until,
        seconds: (budget.seconds ?? Number.POSITIVE_INFINITY) - this.#times.training,
        now: this.#now,
        signal,
        hold,
        stepsPerSecond: this.#stepsPerSecond,
        onChunk: ({ step, lines, stepsPerSecond }) => {
          this.#trainingLine = lines.at(-1) ?? this.#trainingLine;
          this.#stepsPerSecond = stepsPerSecond;
          this.#report("training", step, lines);
        },
      });
      this.#state = segment.state;
      this.#step = segment.step;
      this.#times.training += segment.seconds;
      await this.#writer.append(...segment.lines);
      if (segment.divergedAt !== undefined) {
        this.#step = segment.divergedAt;
        return this.end("diverged", { divergedStep: segment.divergedAt });
      }
      if (signal?.aborted) return this.end("killed", { reason: "stopped by a signal" });
      await this.#evaluate();
    }
  }

  /** Writes the last line of the record. */
  async end(
    status: RunStatus,
    { divergedStep = null, reason = null }: Partial<Pick<EndLine, "divergedStep" | "reason">> = {},
  ): Promise<void> {
    const { training, evaluation, compilation, data } = this.#times;
    await this.#writer.append({
      type: "end",
      status,
      step: this.#step,
      epoch: this.#epoch(),
      divergedStep,
      timeToTarget: status === "reached" ? this.#timeToTarget() : null,
      seconds: { training, evaluation, compilation, data },
      gpuSeconds: null,
      reason,
    });
    for (const leaf of treeLeaves<Tensor>([this.#state, this.#keys])) leaf.dispose();
    this.#state = undefined;
  }

  /** Evaluates, records it, and then makes it the point that a resumed run goes on from. */
  async #evaluate(): Promise<void> {
    const { programs, data } = this.#options;
    const state = this.#current();
    this.#report("evaluating", this.#step);
    const { value, seconds } = await this.#timed(() =>
      evaluatePhases(programs, state, data, this.#keys, this.#phases()),
    );
    this.#times.evaluation += seconds;
    this.#evaluation = {
      type: "evaluation",
      step: this.#step,
      epoch: this.#epoch(),
      trainingSeconds: this.#times.training,
      gpuSeconds: null,
      evaluationSeconds: seconds,
      ...value,
    };
    // The evaluation is on the disk before the checkpoint, so that a checkpoint never names a step without one.
    await this.#writer.append(this.#evaluation);
    const metadata = {
      id: configurationId(this.#options.configuration),
      step: String(this.#step),
      epoch: String(this.#epoch()),
    };
    const bytes = await toSafetensors(state, metadata);
    await this.#stored.replaceCheckpoint(bytes);
    const file = this.#stored.checkpoint;
    await this.#writer.append({ type: "checkpoint", step: this.#step, file, bytes: bytes.byteLength });
    this.#report("evaluating", this.#step);
    const { configuration, inspect } = this.#options;
    await inspect?.({ configuration, step: this.#step, state, programs, data, keys: this.#keys });
  }

  /**
   * All phases at the start of every epoch and where there is no target. In between only the target's phase is needed, and
   * three phases would cost more than the training between two evaluations.
   */
  #phases(): readonly Phase[] {
    const { target, stepsPerEpoch } = this.#options.configuration;
    return target === null || this.#step % stepsPerEpoch === 0 ? phases : [target.phase];
  }

  #ending(lastStep: number, target: Target | null): RunStatus | undefined {
    const { budget } = this.#options.configuration;
    if (target !== null && this.#evaluation !== undefined && meetsTarget(this.#evaluation, target)) return "reached";
    const used = this.#step >= lastStep || this.#times.training >= (budget.seconds ?? Number.POSITIVE_INFINITY);
    if (!used) return undefined;
    return target === null ? "finished" : "budget";
  }

  #timeToTarget(): TimeToTarget {
    return { seconds: this.#times.training, steps: this.#step, epochs: this.#epoch() };
  }

  #epoch(): number {
    return this.#step / this.#options.configuration.stepsPerEpoch;
  }

  #current(): TrainingState {
    // Set by start, and taken away by end only.
    return this.#state as TrainingState;
  }

  async #timed<T>(work: () => Promise<T>): Promise<{ value: T; seconds: number }> {
    const start = this.#now();
    const value = await work();
    await this.#options.device.idle();
    return { value, seconds: (this.#now() - start) / 1000 };
  }

  #report(activity: RunProgress["activity"], step: number, fresh: readonly TrainingLine[] = []): void {
    const { configuration, onProgress } = this.#options;
    const { budget, stepsPerEpoch } = configuration;
    const bySteps = step / stepLimit(configuration);
    const bySeconds = budget.seconds === undefined ? 0 : this.#times.training / budget.seconds;
    onProgress?.({
      configuration,
      activity,
      step,
      epoch: step / stepsPerEpoch,
      training: this.#trainingLine,
      fresh,
      evaluation: this.#evaluation,
      stepsPerSecond: this.#stepsPerSecond,
      fraction: Math.min(1, Math.max(bySteps, bySeconds)),
    });
  }
}

/** Whether an evaluation meets a target: at least an accuracy, at most a loss. A NaN meets none. */
export function meetsTarget(evaluation: EvaluationLine, { phase, metric, value }: Target): boolean {
  const found = metricOf(evaluation, phase, metric);
  return found !== undefined && (found === value || isBetter(metric, found, value));
}

function stepLimit({ budget, stepsPerEpoch }: RunConfiguration): number {
  const { steps = Number.POSITIVE_INFINITY, epochs = Number.POSITIVE_INFINITY } = budget;
  return Math.min(steps, epochs * stepsPerEpoch);
}

async function realizeAll(tree: unknown): Promise<void> {
  await realize(treeLeaves<Tensor>(tree));
}
