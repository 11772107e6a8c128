import { ArgumentError, nearestName } from "@thalweg/tensor";
import type { TestProblem } from "../problem";
import { digits } from "./digits";
import { logreg } from "./logreg";
import { mlp } from "./mlp";
import { fmnistTwin, mnistTwin } from "./twins";
import { twoConvolutionsTwoDense } from "./two-c-two-d";

/** Every test problem, by name. The names are those of DeepOBS wherever the problem is. */
export const problems: Readonly<Record<string, TestProblem>> = byName([
  digits,
  ...[mnistTwin, fmnistTwin].flatMap((twin) => [logreg(twin), mlp(twin), twoConvolutionsTwoDense(twin)]),
]);

function byName(list: readonly TestProblem[]): Readonly<Record<string, TestProblem>> {
  return Object.fromEntries(list.map((problem) => [problem.name, problem]));
}

/**
 * The problem of a name.
 *
 * @throws ArgumentError for an unknown name, with the nearest known one.
 */
export function findProblem(name: string): TestProblem {
  const problem = Object.hasOwn(problems, name) ? problems[name] : undefined;
  if (problem !== undefined) return problem;
  const known = Object.keys(problems);
  const nearest = nearestName(name, known);
  const hint = nearest === undefined ? "" : ` Did you mean "${nearest}"?`;
  throw new ArgumentError(`unknown workload "${name}".${hint} Known are ${known.join(", ")}.`);
}
