import { vmap } from "@thalweg/autograd";
import { evaluate, type Tensor, treeMap } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  type DerivativeOracle,
  exampleLoss,
  load,
  loadAll,
  type Params,
  runModel,
  type StoredTensor,
} from "../../autograd/test/derivative-oracles";
import {
  applyMany,
  binaryCrossEntropy,
  type CurvatureProblem,
  crossEntropy,
  ggnDiagonal,
  ggnOperator,
  hessianOperator,
  type KroneckerBlock,
  kroneckerCurvature,
  type MatrixFactors,
  meanSquaredError,
  perSampleGgnDiagonal,
  perSampleGradients,
  perSampleStatistics,
} from "../src/index";

type Expected = DerivativeOracle["expected"][string];
type Factors = Readonly<Record<"kfac" | "kflr", Readonly<Record<string, readonly StoredTensor[]>>>>;

/** The problem of a file, and by how much its Σ over the terms of an example is larger than its loss of the example. */
function problemOf({ model, loss, buffers = {} }: DerivativeOracle) {
  const constants = loadAll(buffers);
  const output = (q: Params, example: Tensor): Tensor => runModel(model.layers, { ...constants, ...q }, example);
  const isEntropy = loss.kind === "crossEntropy";
  const losses = { crossEntropy, meanSquaredError, binaryCrossEntropy };
  const problem: CurvatureProblem<Params> = {
    loss: losses[loss.kind as keyof typeof losses],
    model: (q, inputs) =>
      vmap((x: Tensor) => {
        const own = output(q, x);
        return isEntropy ? own.moveAxis(0, -1) : own.flatten();
      })(inputs),
  };
  return { problem, output };
}

function quantities(oracle: DerivativeOracle): Readonly<Record<string, Tensor | Params>> {
  const { params, inputs, targets, vectors, loss } = oracle;
  const { problem, output } = problemOf(oracle);
  const [p, batch, v] = [loadAll(params), { inputs: load(inputs), targets: load(targets) }, loadAll(vectors)];
  const single = (q: Params, { inputs: x, targets: y }: typeof batch): Tensor =>
    exampleLoss(loss.kind, output(q, x), y);
  const gradients = perSampleGradients(single, p, batch);
  const statistics = perSampleStatistics(gradients);
  const outputs = problem.model(p, batch.inputs);
  const [examples] = outputs.shape as [number];
  // The loss of an example is a mean over its terms, or over its outputs.
  const terms =
    loss.kind === "meanSquaredError"
      ? 1
      : outputs.size / examples / (loss.kind === "crossEntropy" ? (outputs.shape.at(-1) as number) : 1);
  const divided = (tree: Params, by: number): Params => treeMap((x: Tensor) => x.div(by), tree) as Params;
  const summed: CurvatureProblem<Params> = { ...problem, reduction: "sum" };
  const draws = "mcDraws" in oracle ? load((oracle as unknown as { mcDraws: StoredTensor }).mcDraws) : undefined;
  const spread = Math.sqrt((outputs.shape.at(-1) as number) / 2);
  const drawn =
    draws && loss.kind === "meanSquaredError" ? outputs.add(draws.reshape([2, ...outputs.shape]).mul(spread)) : draws;
  return {
    perSampleGradients: gradients,
    perSampleSquaredNorms: statistics.squaredNorms,
    perSampleDots: statistics.dots,
    sumOfSquaredGradients: treeMap((x: Tensor) => x.mul(examples), statistics.secondMoment) as Params,
    gradientVariance: statistics.variance,
    ggnDiagonal: divided(ggnDiagonal(problem, p, batch), examples * terms),
    perSampleGgnDiagonal: divided(perSampleGgnDiagonal(problem, p, batch), terms),
    ...(drawn !== undefined &&
      terms === 1 && {
        ggnDiagonalMc: divided(ggnDiagonal(problem, p, batch, { fisher: "mc", targets: drawn }), examples),
      }),
    hessianProducts: divided(applyMany(hessianOperator(summed, p, batch), v), examples * terms),
    ggnProducts: divided(applyMany(ggnOperator(summed, p, batch), v), examples * terms),
  };
}

/** BackPACK's factors, which mix the flavours: A summed over positions, B of summed gradients; biases are blocks of B. */
function kroneckerFactors(
  oracle: DerivativeOracle,
  kind: "kfac" | "kflr",
): Readonly<Record<string, readonly Tensor[]>> {
  const { problem } = problemOf(oracle);
  const { params, inputs, targets, loss } = oracle;
  const [p, batch] = [loadAll(params), { inputs: load(inputs), targets: load(targets) }];
  const draws = load((oracle as unknown as { mcDraws: StoredTensor }).mcDraws);
  const outputs = problem.model(p, batch.inputs);
  const spread = Math.sqrt((outputs.shape.at(-1) as number) / 2);
  const drawn =
    loss.kind === "meanSquaredError" ? outputs.add(draws.reshape([2, ...outputs.shape]).mul(spread)) : draws;
  const factorsOf = (flavour: "expand" | "reduce") => {
    const curvature = kroneckerCurvature(problem, p, batch, { flavour, fisher: kind === "kfac" ? "mc" : "type2" });
    const { factors } = curvature.evaluate(p, batch, kind === "kfac" ? { targets: drawn } : {});
    return { blocks: curvature.blocks, factors };
  };
  const [{ blocks, factors: expand }, { factors: reduce }] = [factorsOf("expand"), factorsOf("reduce")];
  const layers = blocks.filter((block): block is KroneckerBlock => block.kind === "kronecker");
  return Object.fromEntries(
    layers.flatMap(({ name, bias, layout, positions }) => {
      const a = (expand[name] as MatrixFactors).a.slice([0, 0], [layout.ins, layout.ins]).mul(positions);
      const { b } = reduce[name] as MatrixFactors;
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

describe.skipIf(why !== undefined)(why ?? "oracles: per-sample and second-order quantities on the device", () => {
  it("are there", () => expect(files.length).toBeGreaterThan(0));

  it.each(files.map(({ name, content }) => ({ name, oracle: content as unknown as DerivativeOracle })))(
    "$name",
    { timeout: 600_000 },
    async ({ oracle }) => {
      const names = Object.keys(oracle.params);
      const found: {
        readonly what: string;
        readonly parts: readonly Tensor[];
        readonly expected: readonly number[];
      }[] = [];
      for (const [what, tree] of Object.entries(quantities(oracle))) {
        const expected = oracle.expected[what];
        if (expected === undefined) continue;
        const isTensor = "shape" in tree && typeof tree.shape !== "undefined" && "dtype" in tree;
        const parts = isTensor ? [tree as Tensor] : names.map((name) => (tree as Params)[name] as Tensor);
        found.push({ what, parts, expected: numbersOf(expected, names) });
      }
      const stored = oracle.expected.kroneckerFactors as unknown as Factors | undefined;
      for (const kind of stored === undefined ? [] : (["kfac", "kflr"] as const)) {
        const own = kroneckerFactors(oracle, kind);
        for (const [name, expected] of Object.entries(stored?.[kind] ?? {})) {
          // BackPACK unfolds the inputs of transposed convolutions; here their gradients are, as the contraction has it.
          const layer = oracle.model.layers[Number(name.split(".")[0])];
          if (layer?.type.startsWith("convTranspose")) continue;
          const parts = own[name];
          expect(parts, `${kind} of ${name}`).toBeDefined();
          found.push({
            what: `${kind} of ${name}`,
            parts: parts as readonly Tensor[],
            expected: expected.flatMap(({ data }) => data),
          });
        }
      }
      await evaluate(found.flatMap(({ parts }) => parts));
      const guide = Math.max(1e-7, ...Object.values(oracle.float32Differences ?? {}));
      for (const { what, parts, expected } of found) {
        const actual = (await Promise.all(parts.map((part) => part.data()))).flatMap((own) => Array.from(own));
        expect(actual.length, what).toBe(expected.length);
        const error = norm(actual.map((value, index) => value - (expected[index] as number)));
        expect(error / Math.max(norm(expected), Number.MIN_VALUE), what).toBeLessThan(Math.max(2e-6, 20 * guide));
      }
    },
  );
});
