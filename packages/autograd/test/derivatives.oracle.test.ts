import { eye, scalar, type Tensor, treeLeaves, treeReduce } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import { grad, hessian, hvp, linearize, vjp, vmap } from "../src/index";
import {
  type DerivativeOracle,
  exampleLoss,
  load,
  loadAll,
  type Params,
  runModel,
  type StoredTensor,
} from "./derivative-oracles";

type Expected = DerivativeOracle["expected"][string];

/** Everything that first and second derivatives give, under the names of the file format. */
function quantities({ model, loss, params, buffers = {}, inputs, targets, vectors }: DerivativeOracle) {
  const [p, x, t, v] = [loadAll(params), load(inputs), load(targets), loadAll(vectors)];
  const constants = loadAll(buffers);
  const output = (q: Params, example: Tensor): Tensor => runModel(model.layers, { ...constants, ...q }, example);
  const single = (q: Params, example: Tensor, target: Tensor) => exampleLoss(loss.kind, output(q, example), target);
  const lossOf = (outputs: Tensor): Tensor =>
    vmap((each: Tensor, target: Tensor) => exampleLoss(loss.kind, each, target))(outputs, t).mean();
  const outputs = (q: Params): Tensor => vmap(output, { in: [null, 0] })(q, x);
  const mean = (q: Params): Tensor => vmap(single, { in: [null, 0, 0] })(q, x, t).mean();
  const perSample = vmap(grad(single), { in: [null, 0, 0] })(p, x, t);
  const rows = Object.values(perSample).map((g) => g.reshape([g.shape[0] as number, -1]));
  const map = (f: (g: Tensor) => Tensor): Params =>
    Object.fromEntries(Object.entries(perSample).map(([name, g]) => [name, f(g)]));
  const only = (name: string, f: (q: Params) => Tensor) => (own: Tensor) => f({ ...p, [name]: own });
  const perParameter = (f: (name: string) => Tensor): Params =>
    Object.fromEntries(Object.keys(p).map((name) => [name, f(name)]));
  const diagonal = (matrix: Tensor, like: Tensor): Tensor =>
    matrix.reshape([like.size, like.size]).mul(eye(like.size)).sum({ axis: 1 }).reshape(like.shape);
  const blocks = hessian(mean)(p);
  const ggnProduct = (direction: Params): Params => {
    const [z, push] = linearize(outputs, p);
    const [, pull] = vjp(outputs, p);
    return pull(hvp(lossOf, z, push(direction)))[0];
  };
  return {
    output: outputs(p),
    losses: vmap(single, { in: [null, 0, 0] })(p, x, t),
    loss: mean(p),
    gradient: grad(mean)(p),
    perSampleGradients: perSample,
    perSampleSquaredNorms: map((g) => g.square().sum({ axis: "rest" })),
    perSampleDots: rows.map((g) => g.dot(g.T)).reduce((sum, dots) => sum.add(dots)),
    sumOfSquaredGradients: map((g) => g.square().sum({ axis: 0 })),
    gradientVariance: map((g) => g.variance({ axis: 0 })),
    hessianProducts: vmap((direction: Params) => hvp(mean, p, direction))(v),
    ggnProducts: vmap(ggnProduct)(v),
    blockHessianProducts: perParameter((name) =>
      vmap((direction: Tensor) => hvp(only(name, mean), p[name] as Tensor, direction).flatten())(v[name] as Tensor),
    ),
    hessianFrobenius: treeReduce<Tensor, Tensor>(
      (sum, block) => sum.add(block.square().sum()),
      blocks,
      scalar(0),
    ).sqrt(),
    hessianTrace: Object.entries(blocks).reduce(
      (sum, [name, row]) => sum.add(diagonal(row[name] as Tensor, p[name] as Tensor).sum()),
      scalar(0),
    ),
    hessianDiagonal: perParameter((name) => diagonal(hessian(only(name, mean))(p[name] as Tensor), p[name] as Tensor)),
    perSampleHessianDiagonal: perParameter((name) =>
      vmap((example: Tensor, target: Tensor) => {
        const f = only(name, (q) => single(q, example, target));
        return diagonal(hessian(f)(p[name] as Tensor), p[name] as Tensor);
      })(x, t),
    ),
  };
}

/** The numbers of a stored quantity in the order of `names`, or all of it. */
function numbersOf(expected: Expected, names: readonly string[]): number[] {
  if (typeof expected === "number") return [expected];
  if ("data" in expected) return [...(expected as StoredTensor).data];
  return names.flatMap((name) => [
    ...((expected as Readonly<Record<string, StoredTensor>>)[name] as StoredTensor).data,
  ]);
}

/** ‖actual - expected‖ / ‖expected‖ over the whole quantity: some parts of it are zero by analysis. */
function relativeDistance(actual: readonly number[], expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return (
    norm(actual.map((value, index) => value - (expected[index] as number))) / Math.max(norm(expected), Number.MIN_VALUE)
  );
}

const files = readOracles("backpack", (format) => format === "thalweg-derivatives-1");
const why = whyNoOracles("backpack");

describe.skipIf(why !== undefined)(why ?? "oracles: derivatives of small networks", () => {
  it("are there", () => expect(files.length).toBeGreaterThan(0));

  it.each(files.map(({ name, content }) => ({ name, oracle: content as unknown as DerivativeOracle })))(
    "$name",
    ({ oracle }) => {
      const found = quantities(oracle);
      for (const [name, tree] of Object.entries(found)) {
        const expected = oracle.expected[name];
        if (expected === undefined) continue;
        const actual = evaluateReference(treeLeaves<Tensor>(tree)).flatMap(({ values }) => [...values]);
        // 15 digits are stored; some hundred rounded float64 terms follow one another.
        expect(relativeDistance(actual, numbersOf(expected, Object.keys(oracle.params))), name).toBeLessThan(1e-11);
      }
    },
  );
});
