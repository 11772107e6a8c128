import { evaluate, eye, linalg, stack, type Tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  blockMatrix,
  type DiagonalBlock,
  type Eigenbasis,
  type FisherKind,
  invertBlock,
  invertFactors,
  type KroneckerBlock,
  kroneckerCurvature,
  kroneckerOperator,
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
  readonly relativeErrorToExactBlock?: number;
  readonly kron?: {
    readonly trace: number;
    readonly frobenius: number;
    readonly damping: number;
    readonly logdetDamped: number;
  };
  readonly preconditioned?: readonly ({ readonly damping: number } & Readonly<
    Record<string, { readonly pi?: number; readonly result: StoredTensor } | number>
  >)[];
  readonly ekfac?: {
    readonly degenerate?: boolean;
    readonly smallestRelativeGap: number;
    readonly reconstructedDiagonal?: StoredTensor;
    readonly eigenvaluesA: StoredTensor;
    readonly eigenvaluesB: StoredTensor;
    readonly corrected?: StoredTensor;
    readonly preconditioned?: StoredTensor;
    readonly damping: number;
  };
}

interface KfacOracle extends StoredProblem {
  readonly lossTermsPerExample: number;
  readonly output: StoredTensor;
  readonly lossValue: number;
  readonly gradient: Readonly<Record<string, StoredTensor>>;
  readonly mcDraws: StoredTensor;
  readonly layers: Readonly<
    Record<
      string,
      {
        readonly shape: readonly number[];
        readonly hasBias: boolean;
        readonly exactGgnBlock: {
          readonly trace: number;
          readonly frobenius: number;
          readonly diagonal: StoredTensor;
          readonly matrix?: StoredTensor;
        };
        readonly kfac: Readonly<Record<"expand" | "reduce", Readonly<Record<string, StoredFactors>>>>;
      }
    >
  >;
  readonly normLayers?: Readonly<
    Record<
      string,
      {
        readonly unitWise: StoredTensor;
        readonly diagonalGamma: StoredTensor;
        readonly diagonalBeta: StoredTensor;
        readonly preconditionedUnitWise: { readonly damping: number; readonly result: StoredTensor };
        readonly preconditionedDiagonal: {
          readonly damping: number;
          readonly gamma: StoredTensor;
          readonly beta: StoredTensor;
        };
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

/**
 * Every quantity a file may hold, at each level. What describes the net, and `sharedDim`, which the factors divide by, is read
 * or shows in what is compared; `crossChecks` are between the reference's own sources. A name that is not here would be
 * something that nothing is compared with.
 */
const known: Readonly<
  Record<"file" | "layer" | "exactBlock" | "factors" | "kron" | "rule" | "ekfac" | "norm", string>
> = {
  file:
    "format name description model loss numExamples lossTermsPerExample outputsPerTerm params inputs targets output lossValue " +
    "gradient mcDraws layers exactFor crossChecks normLayers",
  layer: "shape sharedDim hasBias exactGgnBlock kfac",
  exactBlock: "trace frobenius diagonal matrix",
  factors: "A B zeroB relativeErrorToExactBlock kron preconditioned ekfac",
  kron: "trace frobenius damping logdetDamped",
  rule: "pi result",
  ekfac:
    "degenerate smallestRelativeGap eigenvaluesA eigenvaluesB corrected reconstructedDiagonal preconditioned damping",
  norm: "diagonalGamma diagonalBeta unitWise preconditionedUnitWise preconditionedDiagonal",
};

function expectKnown(oracle: KfacOracle): void {
  const unknown: string[] = [];
  const look = (what: string, allowed: string, value: object | undefined) => {
    const names = allowed.split(" ");
    unknown.push(
      ...Object.keys(value ?? {})
        .filter((name) => !names.includes(name))
        .map((name) => `${what}: ${name}`),
    );
  };
  look("file", known.file, oracle);
  for (const [layer, own] of Object.entries(oracle.layers)) {
    look(layer, known.layer, own);
    look(`exact block of ${layer}`, known.exactBlock, own.exactGgnBlock);
    look(layer, "expand reduce", own.kfac);
    for (const [flavour, fishers] of Object.entries(own.kfac)) {
      look(`${layer} ${flavour}`, Object.keys(kinds).join(" "), fishers);
      for (const [fisher, factors] of Object.entries(fishers)) {
        const at = `${layer} ${flavour} ${fisher}`;
        look(at, known.factors, factors);
        look(`kron of ${at}`, known.kron, factors.kron);
        look(`ekfac of ${at}`, known.ekfac, factors.ekfac);
        for (const { damping: _, ...rules } of factors.preconditioned ?? [])
          for (const [rule, stored] of Object.entries(rules)) look(`${rule} of ${at}`, known.rule, stored as object);
      }
    }
  }
  for (const [layer, own] of Object.entries(oracle.normLayers ?? {})) look(layer, known.norm, own);
  expect(unknown, "quantities of the file that nothing is compared with").toEqual([]);
}

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
  /** Eigenvalues, whose order says nothing where two are equal. */
  readonly isSet?: boolean;
}

/** The entries of a matrix `[n, n]` on its diagonal. */
const diagonalOf = (matrix: Tensor): Tensor =>
  matrix.iotaLike(0).equal(matrix.iotaLike(1)).where(matrix, 0).sum({ axis: 1 });

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
  const addSet = (what: string, actual: Tensor, expected: readonly number[]) =>
    result.push({ what, actual, expected, condition: 1, isSet: true });
  const outputs = problem.model(params, batch.inputs);
  add("output", outputs, oracle.output);
  for (const flavour of ["expand", "reduce"] as const) {
    for (const [fisherName, fisher] of Object.entries(kinds)) {
      const options = { flavour, fisher, ...(isMasked && { mask }) };
      const curvature = kroneckerCurvature(problem, params, batch, options);
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
        expect(block.bias !== undefined, `bias of ${key}`).toBe(stored.hasBias);
        const single = { [block.name]: { a: pick(a), b: pick(b) } };
        const ins = own.A.shape[0] as number;
        const rows = block.layout.outs * ins;
        expect([block.layout.outs, ins], `shape of ${key}`).toEqual(stored.shape);
        if (fisher === "type2") {
          const exact = evaluation
            .exactBlock(block.name)
            .slice([group], [group + 1])
            .reshape([rows, rows]);
          const { trace, frobenius, diagonal, matrix } = stored.exactGgnBlock;
          const size = exact.square().sum().sqrt();
          add(`trace of the block of ${key}`, diagonalOf(exact).sum(), [trace]);
          add(`Frobenius norm of the block of ${key}`, size, [frobenius]);
          add(`diagonal of the block of ${key}`, diagonalOf(exact), diagonal);
          if (matrix !== undefined) add(`block of ${key}`, exact, matrix);
          const fullA = a.rank === 1 ? a.mul(eye(ins)) : pick(a);
          const product = pick(b)
            .reshape([block.layout.outs, 1, block.layout.outs, 1])
            .mul(fullA.reshape([1, ins, 1, ins]))
            .reshape([rows, rows]);
          if (oracle.exactFor?.includes(flavour) && matrix !== undefined) add(`B ⊗ A of ${at}`, product, matrix);
          if (own.relativeErrorToExactBlock !== undefined)
            add(`distance of ${at}`, product.sub(exact).square().sum().sqrt().div(size), [
              own.relativeErrorToExactBlock,
            ]);
        }
        if (own.kron !== undefined) {
          const operator = kroneckerOperator([block], single, params);
          add(`trace of ${at}`, operator.trace, [own.kron.trace]);
          add(`Frobenius norm of ${at}`, operator.frobenius, [own.kron.frobenius]);
          const lambda = load({ shape: [], data: [own.kron.damping] });
          add(`log determinant of ${at}`, operator.logDeterminant(lambda), [own.kron.logdetDamped]);
        }
        for (const { damping, ...rules } of own.preconditioned ?? []) {
          const lambda = load({ shape: [], data: [damping] });
          for (const [rule, { result: expected, pi }] of Object.entries(rules) as [
            string,
            { readonly result: StoredTensor; readonly pi?: number },
          ][]) {
            if (pi !== undefined)
              add(`π ${damping} of ${at}`, invertBlock(block, single, lambda, rule as "heuristicPi").pi, [pi]);
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
        if (own.ekfac !== undefined) {
          const [left, right] = [own.ekfac.eigenvaluesA.data, own.ekfac.eigenvaluesB.data];
          addSet(`eigenvalues of A of ${at}`, a.rank === 1 ? a : linalg.eigh(pick(a)).values, left);
          addSet(`eigenvalues of B of ${at}`, linalg.eigh(pick(b)).values, right);
          const { inverse } = invertBlock(
            block,
            single,
            load({ shape: [], data: [own.ekfac.damping] }),
            "exactKronecker",
          );
          const products = right.flatMap((beta) => left.map((alpha) => Math.max(alpha, 0) * Math.max(beta, 0)));
          addSet(`eigenvalues of B ⊗ A of ${at}`, (inverse as Eigenbasis).values, products);
        }
        if (own.ekfac?.preconditioned !== undefined && own.ekfac.degenerate !== true) {
          const { damping, corrected, preconditioned, reconstructedDiagonal, smallestRelativeGap } = own.ekfac;
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
          if (reconstructedDiagonal !== undefined) {
            const { qa, qb } = inverses[block.name] as Eigenbasis;
            const [squaredB, moments] = [qb, values].map((x) =>
              x.slice([group], [group + 1]).reshape(x.shape.slice(1)),
            ) as [Tensor, Tensor];
            const turned = squaredB.square().matmul(moments);
            const diagonal =
              qa === null
                ? turned
                : turned.matmul(
                    qa
                      .slice([group], [group + 1])
                      .reshape(qa.shape.slice(1))
                      .square()
                      .transpose(),
                  );
            // Directions are known to rounding over the gap between eigenvalues.
            add(`corrected diagonal of ${at}`, diagonal, reconstructedDiagonal, 1 / smallestRelativeGap);
          }
          if (corrected !== undefined)
            add(`second moments of ${at}`, values.slice([group], [group + 1]), corrected, 1e3);
        }
      }
      for (const [name, stored] of Object.entries(fisher === "type2" ? (oracle.normLayers ?? {}) : {})) {
        const block = curvature.blocks.find((each) => each.name === `${name}.gamma`);
        expect(block?.kind, `block of ${name}`).toBe("unitwise");
        if (block?.kind !== "unitwise") continue;
        const own = factors[`${name}.gamma`] as UnitwiseFactors;
        const { scale, cross, shift } = own;
        const at = (row: number, column: number) =>
          stored.unitWise.data.filter((_, index) => index % 4 === 2 * row + column);
        add(`${name} scale`, scale, at(0, 0));
        add(`${name} cross`, cross, at(0, 1));
        add(`${name} shift`, shift, at(1, 1));
        add(`${name} diagonal of gamma`, scale, stored.diagonalGamma);
        add(`${name} diagonal of beta`, shift, stored.diagonalBeta);
        const pairs = stored.preconditionedUnitWise;
        const lambda = load({ shape: [], data: [pairs.damping] });
        const inverses = invertFactors([block], { [block.name]: own }, lambda, "exactKronecker");
        const solved = precondition([block], inverses, gradients, lambda);
        const both = stack([solved[`${name}.gamma`] as Tensor, solved[`${name}.beta`] as Tensor], { axis: 1 });
        add(`${name} solved by pairs`, both, pairs.result, 1 / pairs.damping);
        const alone = stored.preconditionedDiagonal;
        const ridge = load({ shape: [], data: [alone.damping] });
        for (const [parameter, diagonal, role] of [
          ["gamma", scale, block.scale],
          ["beta", shift, block.shift],
        ] as const) {
          const entry: DiagonalBlock = { kind: "diagonal", name: role.name, parameter: role, remarks: [] };
          const found = precondition([entry], { [role.name]: { diagonal } }, gradients, ridge);
          add(
            `${name} ${parameter} solved`,
            found[`${name}.${parameter}`] as Tensor,
            alone[parameter],
            1 / alone.damping,
          );
        }
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
  const offences = found.flatMap(({ what, expected: stored, condition, isSet }, index) => {
    const ordered = (numbers: ArrayLike<number>) =>
      isSet ? Array.from(numbers).sort((x, y) => x - y) : Array.from(numbers);
    const [actual, expected] = [ordered(values[index] as ArrayLike<number>), ordered(stored)];
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
    expectKnown(oracle);
    check(found, values, (condition) => 1e-9 * Math.max(1, condition), 1e-11);
    for (const flavour of oracle.exactFor === undefined ? [] : (["expand", "reduce"] as const)) {
      const distances = found.flatMap(({ what }, index) =>
        what.startsWith("distance of") && what.includes(` ${flavour} `)
          ? Array.from(values[index] as ArrayLike<number>)
          : [],
      );
      // Of a net with one exact flavour the other must be seen to miss.
      if (oracle.exactFor?.includes(flavour)) expect(Math.max(...distances), flavour).toBeLessThan(1e-10);
      else expect(Math.max(...distances), flavour).toBeGreaterThan(1e-3);
    }
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
