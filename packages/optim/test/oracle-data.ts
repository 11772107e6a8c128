import { valueAndGrad } from "@thalweg/autograd";
import { ArgumentError, type Tensor, tensor } from "@thalweg/tensor";
import type { OracleFile } from "../../../test/oracles";
import type { TensorTree } from "../src/index";

/** A float64 array as the files hold it; a plain number is a scalar. */
export type OracleArray = number | { readonly shape: readonly number[]; readonly data: readonly number[] };

/** One array per parameter. */
export type OracleTree = Readonly<Record<string, OracleArray>>;

export const shapeOf = (array: OracleArray): readonly number[] => (typeof array === "number" ? [] : array.shape);

export const valuesOf = (array: OracleArray): readonly number[] => (typeof array === "number" ? [array] : array.data);

/** Arrays as tensors; the inputs of the files are exact in f32. */
export const tensorsOf = (tree: OracleTree): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(tree).map(([name, array]) => [name, tensorOf(array)]));

const tensorOf = (array: OracleArray): Tensor => tensor(Float32Array.from(valuesOf(array)), { shape: shapeOf(array) });

/** A starting point, and the gradient of every step. */
export interface Problem {
  readonly params: OracleTree;
  readonly steps: number;
  /** Inputs of step t = 0, 1, … that are not the same in every step. */
  readonly inputs: (step: number) => OracleTree;
  /** Absent where the inputs are the gradients. */
  readonly loss?: (params: Record<string, Tensor>) => Tensor;
}

/** Loss, if there is one, and gradient at some parameters, from the inputs of the step. */
export function lossAndGradient(
  { loss }: Problem,
  params: Record<string, Tensor>,
  inputs: Record<string, Tensor>,
): readonly [Tensor | undefined, TensorTree] {
  return loss === undefined ? [undefined, inputs] : valueAndGrad(loss)(params);
}

interface ProblemData {
  readonly kind: string;
  readonly params: OracleTree;
  readonly steps: number;
  readonly gradients?: readonly OracleTree[];
  readonly [constant: string]: unknown;
}

/** The problems of `problems.json`, by name. */
export function readProblems(files: readonly OracleFile[]): Readonly<Record<string, Problem>> {
  const data = (files[0]?.content.problems ?? {}) as Readonly<Record<string, ProblemData>>;
  return Object.fromEntries(Object.entries(data).map(([name, own]) => [name, problemOf(own)]));
}

/** Curvature diagonals by name, one per ten steps. */
export function readExtras(files: readonly OracleFile[]): Readonly<Record<string, readonly OracleTree[]>> {
  return (files[0]?.content.extras ?? {}) as Readonly<Record<string, readonly OracleTree[]>>;
}

function problemOf(data: ProblemData): Problem {
  const { params, steps, gradients } = data;
  if (gradients !== undefined) {
    return { params, steps, inputs: (step) => gradients[step] as OracleTree };
  }
  return { params, steps, inputs: () => ({}), loss: lossOf(data) };
}

function lossOf(data: ProblemData): (params: Record<string, Tensor>) => Tensor {
  const constant = (name: string) => tensorOf(data[name] as OracleArray);
  switch (data.kind) {
    case "quadratic":
      return (params) => {
        const parts = Object.keys(data.params).map((name) => (params[name] as Tensor).flatten());
        let start = 0;
        // Sums over slices, so that the gradient needs no scattering: 1/2 Σ h (x - c)² + 1/2 (a·x)².
        const sums = parts.map((x) => {
          const slice = (name: string) => constant(name).slice([start], [start + x.size]);
          const own = [
            slice("h")
              .mul(x.sub(slice("c")).square())
              .sum(),
            slice("a").mul(x).sum(),
          ] as const;
          start += x.size;
          return own;
        });
        const bowl = sums.map(([part]) => part).reduce((sum, part) => sum.add(part));
        const valley = sums.map(([, part]) => part).reduce((sum, part) => sum.add(part));
        return bowl.add(valley.square()).mul(0.5);
      };
    case "rosenbrock":
      return (params) => {
        const point = params.x as Tensor;
        const [x, y] = [point.slice([0], [1]).reshape([]), point.slice([1], [2]).reshape([])];
        return x.neg().add(1).square().add(y.sub(x.square()).square().mul(100));
      };
    case "logistic":
      return (params) => {
        const margin = constant("X")
          .dot(params.W as Tensor)
          .add(params.b as Tensor);
        return margin.mul(constant("y")).neg().softplus().mean();
      };
    default:
      throw new ArgumentError(`There is no problem of the kind ${data.kind}.`);
  }
}

/** The oracle's name of a schedule or problem is a key of a table. */
export function entryOf<T>(table: Readonly<Record<string, T>>, name: string): T {
  const entry = Object.hasOwn(table, name) ? table[name] : undefined;
  if (entry === undefined) throw new ArgumentError(`The tests know nothing of ${name}.`);
  return entry;
}
