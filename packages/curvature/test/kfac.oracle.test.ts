import { evaluate, type Tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  blockMatrix,
  type Eigenbasis,
  type FisherKind,
  invertFactors,
  type KroneckerBlock,
  kroneckerCurvature,
  type MatrixFactors,
  precondition,
  type UnitwiseFactors,
} from "../src/index";
import {
  exactLoader,
  type Inputs,
  type Load,
  load,
  loadAll,
  loadInputs,
  problemOf,
  type StoredProblem,
  type StoredTensor,
} from "./kfac-models";

interface StoredFactors {
  readonly A: StoredTensor;
  readonly B: StoredTensor;
  readonly zeroB?: boolean;
  readonly preconditioned?: readonly ({ readonly damping: number } & Readonly<
    Record<string, { readonly result: StoredTensor } | number>
  >)[];
  readonly ekfac?: {
    readonly degenerate?: boolean;
    readonly eigenvaluesA: StoredTensor;
    readonly eigenvaluesB: StoredTensor;
    readonly corrected?: StoredTensor;
    readonly preconditioned?: StoredTensor;
    readonly damping: number;
  };
}

interface KfacOracle extends StoredProblem {
  readonly lossTermsPerExample: number;
  readonly lossValue: number;
  readonly gradient: Readonly<Record<string, StoredTensor>>;
  readonly mcDraws: StoredTensor;
  readonly layers: Readonly<
    Record<
      string,
      {
        readonly exactGgnBlock: { readonly matrix?: StoredTensor };
        readonly kfac: Readonly<Record<"expand" | "reduce", Readonly<Record<string, StoredFactors>>>>;
      }
    >
  >;
  readonly normLayers?: Readonly<
    Record<
      string,
      {
        readonly unitWise: StoredTensor;
        readonly preconditionedUnitWise: { readonly damping: number; readonly result: StoredTensor };
      }
    >
  >;
  readonly exactFor?: readonly ("expand" | "reduce")[];
}

const kinds: Readonly<Record<string, FisherKind>> = {
  type2: "type2",
  type2AllTermsAtOnce: "type2Together",
  mc: "mc",
  empirical: "empirical",
};

/** `name@g1` to the layer and its group. */
const layerName = (key: string): readonly [layer: string, group: number] => {
  const [layer, group = "0"] = key.split("@g") as [string, string?];
  return [layer, Number(group)];
};

/** Something to compare: a lazy tensor with what it should be, and how much larger than rounding its error may be. */
interface Comparison {
  readonly what: string;
  readonly actual: Tensor;
  readonly expected: readonly number[];
  readonly condition: number;
}

/** Draws in the file are normals, classes or bits; the code wants targets. */
function drawnTargets(oracle: KfacOracle, outputs: Tensor, load: Load): Tensor {
  const draws = load(oracle.mcDraws);
  if (oracle.loss.kind !== "squaredError") return draws;
  const examples = outputs.shape[0] as number;
  return draws.add(outputs.reshape([examples, ...draws.shape.slice(2)]).expandDims(0));
}

function comparisons(oracle: KfacOracle, load: Load): Comparison[] {
  const problem = problemOf(oracle);
  const params = loadAll(oracle.params, load);
  const batch = { inputs: loadInputs(oracle.inputs, load), targets: load(oracle.targets) };
  const mask = (inputs: Inputs): Tensor =>
    ("mask" in inputs ? (inputs.mask as Tensor).greater(0) : undefined) as Tensor;
  const isMasked = oracle.model.kind === "gnn";
  const result: Comparison[] = [];
  const add = (what: string, actual: Tensor, expected: StoredTensor | readonly number[], condition = 1) =>
    result.push({ what, actual, expected: "data" in expected ? expected.data : expected, condition });
  for (const flavour of ["expand", "reduce"] as const) {
    for (const [fisherName, fisher] of Object.entries(kinds)) {
      const options = { flavour, fisher, ...(isMasked && { mask }) };
      const curvature = kroneckerCurvature(problem, params, batch, options);
      const outputs = problem.model(params, batch.inputs);
      const evaluation = curvature.evaluate(
        params,
        batch,
        fisher === "mc" ? { targets: drawnTargets(oracle, outputs, load) } : {},
      );
      const { factors, gradients, loss } = evaluation;
      add("loss", loss, [oracle.lossValue]);
      for (const [name, gradient] of Object.entries(oracle.gradient))
        add(`gradient ${name}`, gradients[name] as Tensor, gradient);
      for (const [key, stored] of Object.entries(oracle.layers)) {
        const own = stored.kfac[flavour][fisherName];
        if (own === undefined) continue;
        const [layer, group] = layerName(key);
        const block = curvature.blocks.find(({ name }) => name === `${layer}.W`) as KroneckerBlock;
        const at = `${key} ${flavour} ${fisherName}`;
        const { a, b } = factors[block.name] as MatrixFactors;
        const pick = (matrix: Tensor): Tensor =>
          block.layout.groups > 1 ? matrix.slice([group], [group + 1]) : matrix;
        add(`A of ${at}`, pick(a), a.rank === 1 ? own.A.data.filter((_, index) => index % (a.size + 1) === 0) : own.A);
        add(`B of ${at}`, pick(b), own.B);
        if (fisher === "type2" && stored.exactGgnBlock.matrix !== undefined)
          add(
            `block of ${key}`,
            evaluation.exactBlock(block.name).slice([group], [group + 1]),
            stored.exactGgnBlock.matrix,
          );
        if (oracle.exactFor?.includes(flavour) && fisher === "type2" && stored.exactGgnBlock.matrix !== undefined) {
          const product = pick(b)
            .reshape([block.layout.outs, 1, block.layout.outs, 1])
            .mul(pick(a).reshape([1, own.A.shape[0] as number, 1, own.A.shape[0] as number]));
          add(`B ⊗ A of ${at}`, product, stored.exactGgnBlock.matrix);
        }
        for (const { damping, ...rules } of own.preconditioned ?? []) {
          const lambda = load({ shape: [], data: [damping] });
          for (const [rule, { result: expected }] of Object.entries(rules) as [string, { result: StoredTensor }][]) {
            const inverses = invertFactors(
              [block],
              { [block.name]: factors[block.name] as MatrixFactors },
              lambda,
              rule as "heuristicPi",
            );
            const solved = precondition([block], inverses, gradients, lambda);
            add(
              `${rule} ${damping} of ${at}`,
              blockMatrix(block, treeLeaves(solved)).slice([group], [group + 1]),
              expected,
              conditionOf(rule, largest(own), damping),
            );
          }
        }
        if (own.ekfac?.preconditioned !== undefined && own.ekfac.degenerate !== true) {
          const { damping, corrected, preconditioned } = own.ekfac;
          const lambda = load({ shape: [], data: [damping] });
          const bases = invertFactors(
            [block],
            { [block.name]: factors[block.name] as MatrixFactors },
            lambda,
            "exactKronecker",
          );
          const inverses = evaluation.correct(bases);
          const solved = precondition([block], inverses, gradients, lambda);
          const values = (inverses[block.name] as Eigenbasis).values;
          add(
            `EKFAC of ${at}`,
            blockMatrix(block, treeLeaves(solved)).slice([group], [group + 1]),
            preconditioned,
            largest(own) / damping,
          );
          if (corrected !== undefined)
            add(`second moments of ${at}`, values.slice([group], [group + 1]), corrected, 1e3);
        }
      }
      for (const [name, stored] of Object.entries(fisher === "type2" ? (oracle.normLayers ?? {}) : {})) {
        const block = curvature.blocks.find((each) => each.name === `${name}.gamma`);
        expect(block?.kind, `block of ${name}`).toBe("unitwise");
        const { scale, cross, shift } = factors[`${name}.gamma`] as UnitwiseFactors;
        const at = (row: number, column: number) =>
          stored.unitWise.data.filter((_, index) => index % 4 === 2 * row + column);
        add(`${name} scale`, scale, at(0, 0));
        add(`${name} cross`, cross, at(0, 1));
        add(`${name} shift`, shift, at(1, 1));
      }
    }
  }
  return result;
}

/** Errors are relative to the norm of the inverse, whose factors are at most 1/λ each if λ is added to both. */
const conditionOf = (rule: string, size: number, damping: number): number =>
  rule === "addToEachFactor" ? Math.max(1, size) / damping ** 2 : size / damping;

/** A bound of the largest eigenvalue of the block. */
const largest = ({ A, B }: StoredFactors): number => Math.max(1e-3, Math.hypot(...A.data) * Math.hypot(...B.data));

const norm = (values: ArrayLike<number>): number =>
  Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));

function check(
  found: readonly Comparison[],
  values: readonly ArrayLike<number>[],
  tolerance: (condition: number) => number,
  floor: number,
): void {
  const offences = found.flatMap(({ what, expected, condition }, index) => {
    const actual = Array.from(values[index] as ArrayLike<number>);
    if (actual.length !== expected.length)
      return [`${what}: ${actual.length} numbers where ${expected.length} are expected`];
    const error = norm(actual.map((value, at) => value - (expected[at] as number)));
    const allowed = tolerance(condition) * norm(expected) + floor * Math.max(1, condition);
    return error <= allowed
      ? []
      : [`${what}: off by ${error.toExponential(2)}, norm ${norm(expected).toExponential(2)}`];
  });
  expect(offences).toEqual([]);
}

const files = readOracles("kfac", (format) => format === "thalweg-kfac-1");
const why = whyNoOracles("kfac");

describe.skipIf(why !== undefined)(why ?? "oracles: Kronecker factors", () => {
  it("are there", () => expect(files.length).toBeGreaterThan(0));

  const cases = files.map(({ name, content }) => ({ name, oracle: content as unknown as KfacOracle }));

  it.each(cases)("$name in float64", ({ oracle }) => {
    const { load: exactly, bindings } = exactLoader();
    const found = comparisons(oracle, exactly);
    expect(found.length).toBeGreaterThan(20);
    const values = evaluateReference(
      found.map(({ actual }) => actual),
      bindings,
    ).map((array) => array.values);
    check(found, values, (condition) => 1e-9 * Math.max(1, condition), 1e-11);
  });

  // Every kind of quantity once; what differs in numbers only is left to float64.
  const isChosen = (what: string): boolean =>
    /^(loss|gradient|. of|heuristicPi 0\.1 of|EKFAC of|\S+ (scale|cross|shift))/.test(what) &&
    !/ (mc|empirical)/.test(what);

  // Roundings of inputs, and of some hundred sums of products: 1e-5 of a tensor's norm; solves lose the condition.
  it.each(cases)("$name on the device", { timeout: 400_000 }, async ({ oracle }) => {
    const found = comparisons(oracle, load).filter(({ what }) => isChosen(what));
    await evaluate(found.map(({ actual }) => actual));
    const values = await Promise.all(found.map(({ actual }) => actual.data()));
    check(found, values, (condition) => Math.max(1e-5, 1e-6 * condition), 1e-6);
  });
});
