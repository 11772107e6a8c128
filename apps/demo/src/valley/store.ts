import { batch, computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { replaceQuery, route } from "../shell/route";
import { scheme } from "../shell/theme";
import { type Configuration, parseQuery, queryOf } from "./configuration";
import { compileValue } from "./formula/evaluate";
import type { Expression } from "./formula/expression";
import { FormulaError, parseFormula } from "./formula/parse";
import type { Runner } from "./optimizers";
import { type Palette, readPalette } from "./palette";
import { PathClient, type PathResult } from "./paths/client";
import { type PathSummary, summarize } from "./paths/summary";
import { TerrainClient } from "./terrain/client";

/** A formula that was read, and the function that it is. */
export interface Objective {
  readonly expression: Expression;
  readonly f: (x: number, y: number) => number;
}

/** A runner's path as far as it is known, and what became of it. */
export interface Path extends PathResult {
  readonly summary?: PathSummary;
}

/** How long nothing may change before the address does, in milliseconds. */
const addressDelay = 250;

/** The state of the view. */
export class Store {
  readonly configuration: Signal<Configuration>;
  /** What is wrong with the formula that is being typed. */
  readonly formulaError: ReadonlySignal<FormulaError | undefined>;
  /** The last formula that could be read. */
  readonly objective: ReadonlySignal<Objective | undefined>;
  readonly terrain: TerrainClient["terrain"];
  readonly engine: PathClient["engine"];
  readonly catalogue: PathClient["catalogue"];
  readonly sweeps: PathClient["sweeps"];
  readonly paths: ReadonlySignal<readonly Path[]>;
  readonly palette: ReadonlySignal<Palette> = computed(() => readPalette(scheme.value));
  /** The step that the picture shows; fractions are between two points. */
  readonly time: Signal<number>;
  readonly isPlaying: Signal<boolean> = signal(false);
  /** Steps per second. */
  readonly speed: Signal<number> = signal(60);

  readonly #terrainClient = new TerrainClient();
  readonly #pathClient = new PathClient();
  readonly #objective = signal<Objective | undefined>(undefined);
  /** The query that the configuration came from or was written to. */
  #query: string;
  #addressTimer: ReturnType<typeof setTimeout> | undefined;
  #frame = 0;
  readonly #stops: readonly (() => void)[];

  constructor() {
    this.#query = route.peek().query;
    const initial = parseQuery(this.#query);
    this.configuration = signal(initial);
    this.time = signal(initial.steps);
    this.terrain = this.#terrainClient.terrain;
    this.engine = this.#pathClient.engine;
    this.catalogue = this.#pathClient.catalogue;
    this.sweeps = this.#pathClient.sweeps;
    this.objective = this.#objective;
    const read = computed(() => readObjective(this.configuration.value.formula));
    this.formulaError = computed(() => (read.value instanceof FormulaError ? read.value : undefined));
    this.paths = computed(() => this.#summarized());
    this.#stops = [
      effect(() => {
        const objective = read.value;
        if (!(objective instanceof FormulaError)) this.#objective.value = objective;
      }),
      effect(() => this.#ask()),
      effect(() => this.#writeAddress()),
      effect(() => this.#readAddress()),
      effect(() => this.#play()),
    ];
  }

  /** Changes parts of the configuration. */
  change(parts: Partial<Configuration>): void {
    const before = this.configuration.peek();
    const isAtEnd = this.time.peek() >= before.steps;
    batch(() => {
      this.configuration.value = { ...before, ...parts };
      const { steps } = this.configuration.peek();
      // Whoever looks at whole paths goes on to do so.
      if (isAtEnd || this.time.peek() > steps) this.time.value = steps;
    });
  }

  changeRunner(index: number, runner: Runner): void {
    this.change({ runners: this.configuration.peek().runners.map((own, other) => (other === index ? runner : own)) });
  }

  /** Destroys the device of the paths, to try what happens then. */
  loseDevice(): void {
    this.#pathClient.lose();
  }

  /** Ends the workers and all that follows signals. */
  dispose(): void {
    for (const stop of this.#stops) stop();
    clearTimeout(this.#addressTimer);
    cancelAnimationFrame(this.#frame);
    this.#terrainClient.dispose();
    this.#pathClient.dispose();
  }

  #ask(): void {
    const formula = this.#objective.value?.expression;
    const { domain, scale, start, steps, noise, seed, runners } = this.configuration.value;
    if (formula === undefined) return;
    this.#terrainClient.ask(formula, domain, scale);
    this.#pathClient.ask({ formula, start, steps, noise: { deviation: noise, seed } }, runners);
  }

  #summarized(): readonly Path[] {
    const { runners, domain } = this.configuration.value;
    const minima = this.terrain.value?.minima ?? [];
    const f = this.#objective.value?.f;
    const results = this.#pathClient.results.value;
    return runners.map((runner, index) => {
      const result = results[index];
      if (result?.runner.optimizer !== runner.optimizer) return { runner, isComplete: false };
      if (result.points === undefined || f === undefined) return result;
      return { ...result, summary: summarize(result.points, f, { minima, domain }) };
    });
  }

  #writeAddress(): void {
    const query = queryOf(this.configuration.value);
    clearTimeout(this.#addressTimer);
    this.#addressTimer = setTimeout(() => {
      if (route.peek().view !== "valley") return;
      this.#query = query;
      replaceQuery(query);
    }, addressDelay);
  }

  /** Takes up a link that was followed, or the back button. */
  #readAddress(): void {
    const { view, query } = route.value;
    if (view !== "valley" || query === this.#query) return;
    this.#query = query;
    const next = parseQuery(query);
    batch(() => {
      this.configuration.value = next;
      this.time.value = next.steps;
    });
  }

  /** Moves the time while it plays. */
  #play(): void {
    cancelAnimationFrame(this.#frame);
    if (!this.isPlaying.value) return;
    let before: number | undefined;
    const tick = (now: number): void => {
      const { steps } = this.configuration.peek();
      const passed = before === undefined ? 0 : (now - before) / 1000;
      before = now;
      this.time.value = Math.min(this.time.peek() + passed * this.speed.peek(), steps);
      if (this.time.peek() >= steps) this.isPlaying.value = false;
      else this.#frame = requestAnimationFrame(tick);
    };
    this.#frame = requestAnimationFrame(tick);
  }
}

function readObjective(formula: string): Objective | FormulaError {
  try {
    const expression = parseFormula(formula);
    return { expression, f: compileValue(expression) };
  } catch (error) {
    if (error instanceof FormulaError) return error;
    throw error;
  }
}
