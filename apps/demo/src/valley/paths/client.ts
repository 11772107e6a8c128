import { batch, type ReadonlySignal, signal } from "@preact/signals";
import type { OptimizerDescription, Runner } from "../optimizers";
import type { Course, PathReply, PathRequest } from "./messages";

/** What is known of the device that computes the paths. */
export type Engine =
  | { readonly state: "starting" }
  /** There is a device; so many were lost before it. */
  | { readonly state: "ready"; readonly adapter: string; readonly losses: number }
  | { readonly state: "unavailable"; readonly message: string }
  | { readonly state: "lost"; readonly message: string };

/** What came back for a runner. */
export interface PathResult {
  readonly runner: Runner;
  /** x, y, x, y, …, the start first; undefined until there are some. */
  readonly points?: Float32Array;
  readonly isComplete: boolean;
  readonly failure?: string;
}

/** Last points over learning rates. */
export interface SweepResult {
  /** Names all that the points depend on. */
  readonly key: string;
  /** x, y, x, y, …, one point per rate of {@link sweepRates}. */
  readonly ends: Float32Array;
}

/** Learning rates of the curves beside the sliders: seven per decade. */
export const [leastRate, mostRate] = [1e-6, 10] as const;
export const sweepRates: readonly number[] = Array.from(
  { length: 50 },
  (_, index) => leastRate * (mostRate / leastRate) ** (index / 49),
);

/** How long nothing may change before curves are computed, in milliseconds: sliders come first. */
const sweepDelay = 350;

/** How often a lost device is replaced before the view gives up. */
const mostRestarts = 3;

/** The page's side of the worker in which the engine runs. */
export class PathClient {
  readonly engine: ReadonlySignal<Engine>;
  /** The optimizers that can run on a function of two numbers. */
  readonly catalogue: ReadonlySignal<readonly OptimizerDescription[]>;
  /** One per runner of the newest request that was answered. */
  readonly results: ReadonlySignal<readonly PathResult[]>;
  /** One per runner, undefined where there is none (yet). */
  readonly sweeps: ReadonlySignal<readonly (SweepResult | undefined)[]>;

  readonly #engine = signal<Engine>({ state: "starting" });
  readonly #catalogue = signal<readonly OptimizerDescription[]>([]);
  readonly #results = signal<readonly PathResult[]>([]);
  readonly #sweeps = signal<readonly (SweepResult | undefined)[]>([]);

  #worker: Worker;
  #restarts = 0;
  #requests = 0;
  #run: { readonly id: number; readonly course: Course; readonly runners: readonly Runner[] } | undefined;
  #asked = "";
  #sweep: { readonly id: number; readonly keys: readonly string[] } = { id: 0, keys: [] };
  #sweepTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.engine = this.#engine;
    this.catalogue = this.#catalogue;
    this.results = this.#results;
    this.sweeps = this.#sweeps;
    this.#worker = this.#start();
  }

  /** Asks for paths, and later for their curves over the learning rate, unless it is what was asked for last. */
  ask(course: Course, runners: readonly Runner[]): void {
    const asked = JSON.stringify([course, runners]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    const isOtherFormula = JSON.stringify(this.#run?.course.formula) !== JSON.stringify(course.formula);
    this.#requests += 1;
    this.#run = { id: this.#requests, course, runners };
    if (isOtherFormula) this.#results.value = runners.map((runner) => ({ runner, isComplete: false }));
    this.#send({ kind: "run", ...this.#run });
    this.#askForSweeps(course, runners);
  }

  /** Destroys the device, to try what happens then. */
  lose(): void {
    this.#send({ kind: "lose" });
  }

  dispose(): void {
    clearTimeout(this.#sweepTimer);
    this.#worker.terminate();
  }

  #askForSweeps(course: Course, runners: readonly Runner[]): void {
    clearTimeout(this.#sweepTimer);
    // The rate itself is what varies.
    const keys = runners.map(({ optimizer, options: { learningRate: _, ...others } }) =>
      JSON.stringify([course, optimizer, others]),
    );
    const known = this.#sweeps.peek();
    this.#sweeps.value = keys.map((key) => known.find((sweep) => sweep?.key === key));
    if (this.#sweeps.peek().every((sweep) => sweep !== undefined)) return;
    this.#sweepTimer = setTimeout(() => {
      this.#requests += 1;
      this.#sweep = { id: this.#requests, keys };
      this.#send({ kind: "sweep", id: this.#requests, course, runners, rates: sweepRates });
    }, sweepDelay);
  }

  #send(request: PathRequest): void {
    this.#worker.postMessage(request);
  }

  #start(): Worker {
    const worker = new Worker(new URL("./paths.worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<PathReply>) => this.#hear(data));
    worker.addEventListener("error", ({ message }) => {
      this.#engine.value = { state: "unavailable", message: message || "The worker could not be loaded." };
    });
    return worker;
  }

  #hear(reply: PathReply): void {
    switch (reply.kind) {
      case "catalogue":
        this.#catalogue.value = reply.optimizers;
        return;
      case "ready":
        this.#engine.value = { state: "ready", adapter: reply.adapter, losses: this.#restarts };
        return;
      case "unavailable":
        this.#engine.value = { state: "unavailable", message: reply.message };
        return;
      case "lost":
        this.#restart(reply.message);
        return;
      case "sweep":
        this.#takeSweep(reply);
        return;
      default:
        this.#takePath(reply);
    }
  }

  #takePath(reply: PathReply & { readonly kind: "path" | "failure" }): void {
    if (this.#run === undefined || reply.id !== this.#run.id) return;
    const before = this.#results.peek();
    this.#results.value = this.#run.runners.map((runner, index): PathResult => {
      if (index === reply.index) {
        return reply.kind === "path"
          ? { runner, points: reply.points, isComplete: reply.isComplete }
          : { runner, failure: reply.message, isComplete: true };
      }
      // A path of the request before stays until its successor is here.
      const old = before[index];
      return old !== undefined && old.runner.optimizer === runner.optimizer ? old : { runner, isComplete: false };
    });
  }

  #takeSweep({ id, index, ends }: PathReply & { readonly kind: "sweep" }): void {
    if (id !== this.#sweep.id) return;
    const { keys } = this.#sweep;
    const before = this.#sweeps.peek();
    this.#sweeps.value = keys.map((key, other) => (other === index ? { key, ends } : before[other]));
  }

  /** A new worker with a new device takes up what the lost one was at. */
  #restart(message: string): void {
    this.#worker.terminate();
    this.#restarts += 1;
    batch(() => {
      this.#engine.value = { state: "lost", message };
      if (this.#restarts > mostRestarts) return;
      this.#worker = this.#start();
      const run = this.#run;
      if (run === undefined) return;
      this.#asked = "";
      this.ask(run.course, run.runners);
    });
  }
}
