import {
  type EvaluationLine,
  type InspectedMoment,
  type RunConfiguration,
  type RunProgress,
  type RunStore,
  runName,
  type TrainingLine,
} from "@thalweg/bench";
import { readPredictions } from "./predictions";
import type { Report } from "./protocol";

/** Milliseconds between two updates of a run, and between two readings of predictions: both are for the eye. */
const [updateMs, predictionMs] = [100, 400];

/** Tells the page how a race goes: often enough to watch, and seldom enough for a page with other things to do. */
export class Reporter {
  readonly #store: RunStore;
  readonly #report: (message: Report) => void;
  readonly #over = new Set<string>();
  #id = "";
  #progress: RunProgress | undefined;
  #training: TrainingLine[] = [];
  #evaluations: EvaluationLine[] = [];
  #lastEvaluation: EvaluationLine | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #predictedAt = Number.NEGATIVE_INFINITY;
  #settled: Promise<void> = Promise.resolve();

  constructor(store: RunStore, report: (message: Report) => void) {
    this.#store = store;
    this.#report = report;
  }

  /** Resolves when all that was to be reported has been. */
  get settled(): Promise<void> {
    return this.#settled;
  }

  progress(progress: RunProgress): void {
    const { configuration, activity, fresh, evaluation } = progress;
    const id = runName(configuration);
    if (id !== this.#id || (activity === "compiling" && this.#progress?.activity !== "compiling")) {
      this.#flush();
      this.#id = id;
      this.#report({ type: "run", id, configuration });
    }
    this.#progress = progress;
    this.#training.push(...fresh);
    // Reports repeat the last evaluation until there is another.
    if (evaluation !== undefined && evaluation !== this.#lastEvaluation) this.#evaluations.push(evaluation);
    this.#lastEvaluation = evaluation;
    this.#timer ??= setTimeout(() => this.#flush(), updateMs);
  }

  async inspect(moment: InspectedMoment): Promise<void> {
    const now = performance.now();
    if (now - this.#predictedAt < predictionMs) return;
    this.#predictedAt = now;
    const predictions = await readPredictions(moment);
    if (predictions !== undefined) this.#report({ type: "predictions", predictions });
  }

  /** Sends the record of a run that is over, once. */
  finish(configuration: RunConfiguration, path: string): void {
    this.#flush();
    this.#progress = undefined;
    const id = runName(configuration);
    if (this.#over.has(id)) return;
    this.#over.add(id);
    this.#settled = this.#settled.then(async () => {
      const stored = await this.#store.open(configuration);
      const text = new TextDecoder().decode(await stored.read());
      // Nobody goes on from here, and the checkpoints of a large race would fill the memory.
      await stored.replaceCheckpoint(new Uint8Array());
      this.#report({ type: "record", id, path, text });
    });
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#progress === undefined) return;
    const { activity, step, fraction, stepsPerSecond } = this.#progress;
    const update = {
      activity,
      step,
      fraction,
      stepsPerSecond,
      training: this.#training,
      evaluations: this.#evaluations,
    };
    this.#training = [];
    this.#evaluations = [];
    this.#report({ type: "update", id: this.#id, update });
  }
}
