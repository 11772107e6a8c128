import type { Runner } from "./optimizers";
import { ownProblem, type Problem, problemOf } from "./problems";
import type { Domain, Point } from "./terrain/domain";
import type { ScaleKind } from "./terrain/height-scale";

/** Everything that decides what the view shows; a link says it. */
export interface Configuration {
  readonly problem: string;
  readonly formula: string;
  readonly domain: Domain;
  readonly start: Point;
  readonly steps: number;
  /** Standard deviation of the gradient's noise, and its seed. */
  readonly noise: number;
  readonly seed: number;
  /** Absent: as the function is steep or not. */
  readonly scale?: ScaleKind;
  readonly runners: readonly Runner[];
}

export const mostRunners = 8;
export const [leastSteps, mostSteps] = [100, 2000] as const;

export function configurationOf({ id, formula, domain, start, steps, runners }: Problem): Configuration {
  return { problem: id, formula, domain, start, steps, noise: 0, seed: 0, runners };
}

/**
 * The query that says a configuration: `problem=beale&start=-4.5,4.5&…&run=adam,learningRate:0.1`. All is written that
 * the problem does not say by itself, so that a link holds when defaults change; the problem's own formula is not.
 */
export function queryOf(configuration: Configuration): string {
  const { problem, formula, domain, start, steps, noise, seed, scale, runners } = configuration;
  const { left, right, bottom, top } = domain;
  const parts: [string, string][] = [["problem", problem]];
  if (problem === ownProblem.id) parts.push(["f", encodeURIComponent(formula)]);
  parts.push(["map", [left, right, bottom, top].map(short).join()]);
  parts.push(["start", [start.x, start.y].map(short).join()]);
  parts.push(["steps", String(steps)]);
  if (noise > 0) parts.push(["noise", short(noise)], ["seed", String(seed)]);
  if (scale !== undefined) parts.push(["heights", scale]);
  for (const { optimizer, options } of runners) {
    const values = Object.entries(options).map(([name, value]) => `${name}:${value}`);
    parts.push(["run", [optimizer, ...values].join()]);
  }
  return parts.map(([name, value]) => `${name}=${value}`).join("&");
}

/** Numbers of a link: as many digits as f32 has. */
const short = (value: number): string => String(Number(value.toPrecision(8)));

/**
 * The configuration that a query says. What is missing or makes no sense is as the problem has it; names of optimizers and
 * hyperparameters are checked where they are known.
 */
export function parseQuery(query: string): Configuration {
  const parameters = new URLSearchParams(query);
  const problem = problemOf(parameters.get("problem") ?? "");
  const base = configurationOf(problem);
  const domain = numbersOf(parameters.get("map"), 4);
  const [left, right, bottom, top] = domain ?? [];
  const start = numbersOf(parameters.get("start"), 2);
  const steps = numberOf(parameters.get("steps"));
  const scale = parameters.get("heights");
  const runners = parameters.getAll("run").slice(0, mostRunners).map(runnerOf);
  return {
    ...base,
    formula: problem.id === ownProblem.id ? (parameters.get("f") ?? base.formula) : base.formula,
    ...(isOrdered(left, right) && isOrdered(bottom, top) && { domain: { left, right, bottom, top } as Domain }),
    ...(start && { start: { x: start[0] as number, y: start[1] as number } }),
    ...(steps !== undefined && { steps: Math.min(Math.max(Math.round(steps / 100) * 100, leastSteps), mostSteps) }),
    noise: Math.max(numberOf(parameters.get("noise")) ?? 0, 0),
    seed: Math.max(Math.round(numberOf(parameters.get("seed")) ?? 0), 0),
    ...((scale === "even" || scale === "logarithmic") && { scale }),
    runners: runners.length > 0 ? runners : base.runners,
  };
}

function isOrdered(low: number | undefined, high: number | undefined): boolean {
  return low !== undefined && high !== undefined && low < high;
}

function numberOf(text: string | null): number | undefined {
  const value = text === null || text === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) ? value : undefined;
}

function numbersOf(text: string | null, count: number): readonly number[] | undefined {
  const values = (text ?? "").split(",").map(numberOf);
  return values.length === count && values.every((value) => value !== undefined) ? (values as number[]) : undefined;
}

function runnerOf(text: string): Runner {
  const [optimizer = "", ...values] = text.split(",");
  const options = values.map((value) => {
    const [name = "", written = ""] = value.split(":");
    return [name, written === "true" ? true : written === "false" ? false : (numberOf(written) ?? written)] as const;
  });
  return { optimizer, options: Object.fromEntries(options) };
}
