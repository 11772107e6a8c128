import { vmap } from "@thalweg/autograd";
import { evaluate, linalg, scalar, Tensor, treeLeaves, treeMap } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  type DerivativeOracle,
  exampleLoss,
  load,
  loadAll,
  type Params,
  type StoredTensor,
} from "../../autograd/test/derivative-oracles";
import {
  applyMany,
  blockDiagonal,
  type CurvatureProblem,
  exampleLosses,
  ggnDiagonal,
  ggnOperator,
  hessianDiagonal,
  hessianOperator,
  type KroneckerBlock,
  kroneckerCurvature,
  type LinearOperator,
  type MatrixFactors,
  perSampleGgnDiagonal,
  perSampleGradients,
  perSampleHessianDiagonal,
  perSampleStatistics,
  recursiveFactors,
  scaled,
  toDense,
} from "../src/index";
import { derivativeProblem, termsOf } from "./derivative-problem";

type Expected = DerivativeOracle["expected"][string];
const factorKinds = ["kfac", "kflr", "kfra"] as const;
type FactorKind = (typeof factorKinds)[number];
type Factors = Readonly<Partial<Record<FactorKind, Readonly<Record<string, readonly StoredTensor[]>>>>>;

function quantities(oracle: DerivativeOracle): Readonly<Record<string, Tensor | Params>> {
  const { params, inputs, targets, vectors, loss } = oracle;
  const { problem, output } = derivativeProblem(oracle);
  const [p, batch, v] = [loadAll(params), { inputs: load(inputs), targets: load(targets) }, loadAll(vectors)];
  const single = (q: Params, { inputs: x, targets: y }: typeof batch): Tensor =>
    exampleLoss(loss.kind, output(q, x), y);
  const gradients = perSampleGradients(single, p, batch);
  const statistics = perSampleStatistics(gradients);
  const outputs = problem.model(p, batch.inputs);
  const [examples] = outputs.shape as [number];
  const terms = termsOf(loss.kind, outputs);
  const divided = (tree: Params, by: number): Params => treeMap((x: Tensor) => x.div(by), tree) as Params;
  const summed: CurvatureProblem<Params> = { ...problem, reduction: "sum" };
  const total = (tree: Params): Tensor =>
    treeLeaves<Tensor>(tree).reduce((sum, leaf) => sum.add(leaf.sum()), scalar(0));
  const [hessian, ggn] = [hessianOperator, ggnOperator].map((make) =>
    scaled(make(summed, p, batch), 1 / (examples * terms)),
  ) as [LinearOperator<Params>, LinearOperator<Params>];
  const [denseHessian, denseGgn] = [toDense(hessian), toDense(ggn)];
  const diagonals = {
    hessian: divided(hessianDiagonal(problem, p, batch), examples * terms),
    ggn: divided(ggnDiagonal(problem, p, batch), examples * terms),
  };
  return {
    output: vmap(output, { in: [null, 0] })(p, batch.inputs),
    losses: exampleLosses(problem, p, batch).div(terms),
    loss: exampleLosses(problem, p, batch)
      .sum()
      .div(examples * terms),
    gradient: statistics.mean,
    perSampleGradients: gradients,
    perSampleSquaredNorms: statistics.squaredNorms,
    perSampleDots: statistics.dots,
    sumOfSquaredGradients: treeMap((x: Tensor) => x.mul(examples), statistics.secondMoment) as Params,
    gradientVariance: statistics.variance,
    hessianDiagonal: diagonals.hessian,
    ggnDiagonal: diagonals.ggn,
    perSampleHessianDiagonal: divided(perSampleHessianDiagonal(problem, p, batch), terms),
    perSampleGgnDiagonal: divided(perSampleGgnDiagonal(problem, p, batch), terms),
    ggnDiagonalMc: divided(
      ggnDiagonal(problem, p, batch, { fisher: "mc", targets: drawnTargets(oracle, outputs) }),
      examples * terms,
    ),
    hessianTrace: total(diagonals.hessian),
    ggnTrace: total(diagonals.ggn),
    hessianFrobenius: denseHessian.square().sum().sqrt(),
    ggnFrobenius: denseGgn.square().sum().sqrt(),
    hessianEigenvalues: linalg.eigh(denseHessian).values,
    ggnEigenvalues: linalg.eigh(denseGgn).values,
    hessianProducts: applyMany(hessian, v),
    ggnProducts: applyMany(ggn, v),
    blockHessianProducts: applyMany(blockDiagonal(hessian), v),
    blockGgnProducts: applyMany(blockDiagonal(ggn), v),
  };
}

/** The draws of a file are classes, bits, or normals where the targets are numbers. */
function drawnTargets(oracle: DerivativeOracle, outputs: Tensor): Tensor {
  const draws = load(oracle.mcDraws);
  if (oracle.loss.kind !== "meanSquaredError") return draws;
  const spread = Math.sqrt((outputs.shape.at(-1) as number) / 2);
  return outputs.add(draws.reshape([draws.shape[0] as number, ...outputs.shape]).mul(spread));
}

/**
 * BackPACK's factors, which mix the flavours: A summed over positions, B of summed gradients; biases are blocks of B.
 * Transposed convolutions are those of a stretched input there, of which the inputs are unfolded.
 */
function kroneckerFactors(oracle: DerivativeOracle, kind: FactorKind): Readonly<Record<string, readonly Tensor[]>> {
  const { problem } = derivativeProblem(oracle, { transposed: "ofStretched" });
  const { params, inputs, targets, loss } = oracle;
  const [p, batch] = [loadAll(params), { inputs: load(inputs), targets: load(targets) }];
  const outputs = problem.model(p, batch.inputs);
  const factorsOf = (flavour: "expand" | "reduce") => {
    const curvature = kroneckerCurvature(problem, p, batch, { flavour, fisher: kind === "kfac" ? "mc" : "type2" });
    const draws = kind === "kfac" ? { targets: drawnTargets(oracle, outputs) } : {};
    return { blocks: curvature.blocks, factors: curvature.evaluate(p, batch, draws).factors };
  };
  const { blocks, factors: expand } = factorsOf("expand");
  const reduce =
    kind === "kfra" ? recursiveFactors(problem, p, batch, { flavour: "reduce" }) : factorsOf("reduce").factors;
  const layers = blocks.filter((block): block is KroneckerBlock => block.kind === "kronecker");
  const perOutput = loss.kind === "binaryCrossEntropy" ? termsOf(loss.kind, outputs) : 1;
  return Object.fromEntries(
    layers.flatMap(({ name, bias, layout, positions }) => {
      const a = (expand[name] as MatrixFactors).a.slice([0, 0], [layout.ins, layout.ins]).mul(positions);
      const b = (reduce[name] as MatrixFactors).b.div(perOutput);
      return [[name, [b, a]] as const, ...(bias === undefined ? [] : [[bias.name, [b]] as const])];
    }),
  );
}

/** The numbers of a quantity in the order of `names`, or all of it. */
function numbersOf(expected: Expected, names: readonly string[]): readonly number[] {
  if (typeof expected === "number") return [expected];
  if ("data" in expected) return (expected as StoredTensor).data;
  return names.flatMap((name) => (expected as Readonly<Record<string, StoredTensor>>)[name]?.data ?? []);
}

const norm = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

const files = readOracles("backpack", (format) => format === "thalweg-derivatives-1");
const why = whyNoOracles("backpack");

/** What is known but has no comparison would be a hole in the test: `crossChecks` of the factors are of BackPACK itself. */
const notCompared = new Set(["kroneckerFactors", "kflrBiasVersusGgnBlock"]);

interface Comparison {
  readonly what: string;
  readonly parts: readonly Tensor[];
  readonly expected: readonly number[];
}

function comparisons(oracle: DerivativeOracle): Comparison[] {
  const names = Object.keys(oracle.params);
  const own = quantities(oracle);
  const unknown = Object.keys(oracle.expected).filter((what) => own[what] === undefined && !notCompared.has(what));
  expect(unknown, "quantities of the file that nothing is compared with").toEqual([]);
  const found: Comparison[] = Object.entries(own).flatMap(([what, tree]) => {
    const expected = oracle.expected[what];
    if (expected === undefined) return [];
    const parts = tree instanceof Tensor ? [tree] : names.map((name) => tree[name] as Tensor);
    return [{ what, parts, expected: numbersOf(expected, names) }];
  });
  const stored = (oracle.expected.kroneckerFactors ?? {}) as unknown as Factors;
  for (const kind of factorKinds) {
    const factors = stored[kind];
    if (factors === undefined) continue;
    const parts = kroneckerFactors(oracle, kind);
    for (const [name, expected] of Object.entries(factors)) {
      expect(parts[name], `${kind} of ${name}`).toBeDefined();
      const data = expected.flatMap((factor) => factor.data);
      found.push({ what: `${kind} of ${name}`, parts: parts[name] as readonly Tensor[], expected: data });
    }
  }
  return found;
}

function expectNear({ what, expected }: Comparison, actual: readonly number[], relative: number): void {
  expect(actual.length, what).toBe(expected.length);
  const error = norm(actual.map((value, index) => value - (expected[index] as number)));
  expect(error / Math.max(norm(expected), Number.MIN_VALUE), what).toBeLessThan(relative);
}

describe.skipIf(why !== undefined)(why ?? "oracles: per-sample and second-order quantities", () => {
  it("are there", () => expect(files.length).toBeGreaterThan(0));

  const cases = files.map(({ name, content }) => ({ name, oracle: content as unknown as DerivativeOracle }));

  it.each(cases)("$name in float64", { timeout: 600_000 }, ({ oracle }) => {
    const found = comparisons(oracle);
    const values = evaluateReference(found.flatMap(({ parts }) => parts)).map((own) => Array.from(own.values));
    let next = 0;
    for (const comparison of found) {
      // Constants of the losses and of the model, such as roots of 2, are f32 in the graph.
      expectNear(
        comparison,
        comparison.parts.flatMap(() => values[next++] as number[]),
        1e-6,
      );
    }
  });

  // What is made of the same products in other ways is left to float64: programs take longer to compile than to run here.
  const isChosen = ({ what }: Comparison): boolean =>
    !/Eigenvalues|Frobenius|Trace|^block|essianDiagonal|^kfra/.test(what);

  it.each(cases)("$name on the device", { timeout: 600_000 }, async ({ oracle }) => {
    const found = comparisons(oracle).filter(isChosen);
    await evaluate(found.flatMap(({ parts }) => parts));
    const guide = Math.max(1e-7, ...Object.values(oracle.float32Differences ?? {}));
    for (const comparison of found) {
      const actual = await Promise.all(comparison.parts.map((part) => part.data()));
      expectNear(
        comparison,
        actual.flatMap((own) => Array.from(own)),
        Math.max(2e-6, 20 * guide),
      );
    }
  });
});
