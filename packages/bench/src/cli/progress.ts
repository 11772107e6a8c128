import { formatCount, formatMetric, formatSeconds } from "../report/format";
import type { Terminal } from "./terminal";

/** Where a run is. */
export interface ProgressState {
  /** What is running: `adam, seed 42`. */
  readonly label: string;
  readonly step: number;
  readonly epoch: number;
  /** Last known loss of a training batch, and its accuracy. */
  readonly loss: number | undefined;
  readonly accuracy: number | undefined;
  /** Last value of the metric that counts, such as `test accuracy 91.2 %`. */
  readonly evaluated: string | undefined;
  readonly stepsPerSecond: number | undefined;
  /** Part of the run's budget that is used up, from 0 to 1. */
  readonly fraction: number;
}

/** Milliseconds between two drawings of the live line, and between two plain lines. */
const liveInterval = 100;
const plainInterval = 5000;

/**
 * Shows how far a number of runs has come: one line that is rewritten where somebody watches, else a plain line every
 * five seconds. Lines given to {@link Progress.line} stay.
 */
export class Progress {
  readonly #terminal: Terminal;
  readonly #runs: number;
  readonly #start: number;
  #finished = 0;
  #lastDrawn: number;
  #drawn = false;

  /** @param runs how many runs there will be in all. */
  constructor(terminal: Terminal, runs: number) {
    this.#terminal = terminal;
    this.#runs = runs;
    this.#start = terminal.now();
    // A plain line at once would say nothing; the live line appears with the first state.
    this.#lastDrawn = terminal.live ? Number.NEGATIVE_INFINITY : this.#start;
  }

  /** Shows a state, if the last one was shown long enough ago. */
  update(state: ProgressState): void {
    const { live, error, now, columns } = this.#terminal;
    if (now() - this.#lastDrawn < (live ? liveInterval : plainInterval)) return;
    this.#lastDrawn = now();
    const text = this.#describe(state);
    // A line longer than the window would wrap, and the next one could not replace it.
    error(live ? `\r\u001b[K${text.slice(0, Math.max(20, columns() - 1))}` : `${text}\n`);
    this.#drawn = live;
  }

  /** Writes a line that stays. */
  line(text: string): void {
    this.clear();
    this.#terminal.error(`${text}\n`);
  }

  /** One more run has come to its end. */
  finish(text: string): void {
    this.#finished++;
    const counter = this.#runs > 1 ? `[${this.#finished}/${this.#runs}] ` : "";
    this.line(`${counter}${text}`);
  }

  /** Takes the live line away. */
  clear(): void {
    if (this.#drawn) this.#terminal.error("\r\u001b[K");
    this.#drawn = false;
  }

  #describe(state: ProgressState): string {
    const { label, step, epoch, loss, accuracy, evaluated, stepsPerSecond, fraction } = state;
    const parts = [
      this.#runs > 1 ? `[${this.#finished + 1}/${this.#runs}] ${label}` : label,
      `epoch ${epoch.toFixed(1)}, step ${formatCount(step)}`,
      stepsPerSecond === undefined ? undefined : `${Number(stepsPerSecond.toPrecision(3))} steps/s`,
      loss === undefined ? undefined : `loss ${formatMetric("loss", loss)}`,
      accuracy === undefined ? undefined : `batch accuracy ${formatMetric("accuracy", accuracy)}`,
      evaluated,
      this.#timeLeft(fraction),
    ];
    return parts.filter((part) => part !== undefined).join(" · ");
  }

  /** At most so long: runs that reach the target stop before their budget ends. */
  #timeLeft(fraction: number): string | undefined {
    const done = this.#finished + Math.min(1, fraction);
    const seconds = (this.#terminal.now() - this.#start) / 1000;
    // An estimate from the first moments would only show how long compilation takes.
    if (done <= 0 || seconds < 1) return undefined;
    return `at most ${formatSeconds(Number(((seconds * (this.#runs - done)) / done).toPrecision(2)))} left`;
  }
}
