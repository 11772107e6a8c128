import type { Runner } from "./optimizers";
import type { Domain, Point } from "./terrain/domain";

/** A function to minimize, and where the visitor meets it. */
export interface Problem {
  readonly id: string;
  readonly title: string;
  readonly formula: string;
  readonly domain: Domain;
  readonly start: Point;
  readonly steps: number;
  readonly runners: readonly Runner[];
}

/** A square domain. */
const square = (left: number, bottom: number, size: number): Domain => ({
  left,
  right: left + size,
  bottom,
  top: bottom + size,
});

const runner = (optimizer: string, learningRate: number): Runner => ({ optimizer, options: { learningRate } });

/**
 * The first three are the two-dimensional problems of DeepOBS, with its starts. Learning rates were chosen by the curves that
 * the view draws: near the best ones, and such that the ways differ.
 */
export const problems: readonly Problem[] = [
  {
    id: "rosenbrock",
    title: "Rosenbrock",
    formula: "(1 - x)^2 + 100 (y - x^2)^2",
    domain: square(-2, -1, 4),
    start: { x: -0.5, y: 1.5 },
    steps: 400,
    runners: [runner("sgd", 0.002), runner("momentum", 0.001), runner("nesterov", 0.001), runner("adam", 0.5)],
  },
  {
    id: "beale",
    title: "Beale",
    formula: "(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2",
    domain: square(-5, -5, 10),
    start: { x: -4.5, y: 4.5 },
    steps: 400,
    runners: [runner("sgd", 1e-5), runner("momentum", 1e-5), runner("rmsprop", 0.2), runner("adam", 0.2)],
  },
  {
    id: "branin",
    title: "Branin",
    formula: "(y - 5.1/(4 pi^2) x^2 + 5/pi x - 6)^2 + 10 (1 - 1/(8 pi)) cos(x) + 10",
    domain: square(-5, 0, 15),
    start: { x: 2.5, y: 12.5 },
    steps: 200,
    runners: [runner("sgd", 0.02), runner("momentum", 0.02), runner("rmsprop", 0.2), runner("adam", 0.5)],
  },
  {
    id: "himmelblau",
    title: "Himmelblau",
    formula: "(x^2 + y - 11)^2 + (x + y^2 - 7)^2",
    domain: square(-5, -5, 10),
    start: { x: -0.5, y: -0.5 },
    steps: 200,
    runners: [runner("sgd", 0.01), runner("momentum", 0.005), runner("rmsprop", 0.1), runner("adam", 0.5)],
  },
  {
    id: "camel",
    title: "Six-hump camel",
    formula: "(4 - 2.1 x^2 + x^4/3) x^2 + x y + (4 y^2 - 4) y^2",
    domain: square(-2, -2, 4),
    start: { x: 1.9, y: 1.2 },
    steps: 200,
    runners: [runner("sgd", 0.05), runner("momentum", 0.02), runner("rmsprop", 0.1), runner("adam", 0.2)],
  },
];

/** Where a visitor's own formula begins. */
export const ownProblem: Problem = {
  id: "own",
  title: "Your formula",
  formula: "x^2/4 + y^2 + sin(3 x) cos(2 y)",
  domain: square(-3, -3, 6),
  start: { x: -2.4, y: 2.2 },
  steps: 200,
  runners: [runner("sgd", 0.05), runner("momentum", 0.02), runner("adam", 0.2)],
};

/** By its id; the first one for any other id. */
export function problemOf(id: string): Problem {
  // The list is not empty.
  return [...problems, ownProblem].find((problem) => problem.id === id) ?? (problems[0] as Problem);
}
