import { compile, init, scan, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import { checkpoint, grad, hvp, jvp, vmap } from "../src/index";
import { agree, bound, randomArrays } from "./support";

const size = 4;
const pair = (x: Tensor, w: Tensor) => {
  const h = x.dot(w).tanh();
  return { sum: h.add(x.sin()), product: h.mul(x) };
};
/** Two groups, with a tensor of the first argument closed over by the second one. */
const network =
  (wrap: <A extends readonly unknown[], R>(f: (...args: A) => R) => (...args: A) => R) =>
  (x: Tensor, w: Tensor): Tensor => {
    const { sum, product } = wrap(pair)(x, w);
    return wrap((h: Tensor) => h.dot(w).add(product).square().sum().sin())(sum);
  };
const plain = network((f) => f);
const checkpointed = network(checkpoint);

describe("checkpoint changes no number", () => {
  const cases: Readonly<Record<string, (f: (x: Tensor, w: Tensor) => Tensor, x: Tensor, w: Tensor) => unknown>> = {
    "the value": (f, x, w) => f(x, w),
    "the gradient": (f, x, w) => grad(f, { argnums: [0, 1] })(x, w),
    "a directional derivative": (f, x, w) => jvp(f, [x, w], [x.cos(), w.sin()])[1],
    "a Hessian-vector product": (f, x, w) => hvp((own: Tensor) => f(x, own), w, w.cos()),
    "gradients of a batch": (f, x, w) =>
      vmap((own: Tensor) => grad(f, { argnums: [0, 1] })(own, w))(x.expandDims(0).add(w)),
    "gradients through scan": (f, x, w) =>
      grad((own: Tensor) =>
        scan((c: Tensor, y: Tensor) => [c.mul(f(y, own)).tanh(), c.sum()] as const, x, own)[1].sum(),
      )(w),
  };
  it.each(Object.entries(cases))("%s", (_, quantity) => {
    const { tensors, bindings } = bound(randomArrays(4, [[size], [size, size]]));
    const [x, w] = tensors as [Tensor, Tensor];
    const of = (f: typeof plain) => treeLeaves<Tensor>(quantity(f, x, w));
    agree(of(checkpointed), evaluateReference(of(plain), bindings), bindings, 11);
  });
});

describe("checkpoint on the device", () => {
  beforeAll(async () => {
    await init({ notice: () => undefined });
  });
  const [layers, width, batch] = [36, 32, 64];
  const values = (seed: number, shape: readonly number[]) =>
    tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(seed + i * 1.7) / 4),
      { shape },
    );
  const weights = Array.from({ length: layers }, (_, layer) => values(layer, [width, width]));
  const x = values(99, [batch, width]);
  const gradient = (group: number) =>
    compile((ws: readonly Tensor[], input: Tensor) => {
      const run = (own: readonly Tensor[], h: Tensor) => own.reduce((z, w) => z.dot(w).tanh(), h);
      return grad((all: readonly Tensor[]) => {
        let h = input;
        for (let first = 0; first < layers; first += group || layers) {
          const part = all.slice(first, first + (group || layers));
          h = group === 0 ? run(part, h) : checkpoint(run)(part, h);
        }
        return h.square().sum();
      })(ws);
    });

  it("keeps 2√n activations of n layers, and gives the same bits", async () => {
    const [whole, grouped] = [gradient(0), gradient(6)];
    const expected = await Promise.all(whole(weights, x).map((g) => g.data()));
    const actual = await Promise.all(grouped(weights, x).map((g) => g.data()));
    expect(actual).toEqual(expected);
    const activation = batch * width * 4;
    const results = layers * width * width * 4;
    const kept = (program: typeof whole) => (program.statistics().bytesLowerBound - results) / activation;
    // All activations, against six group boundaries, six of the group at hand, and the cotangents under way.
    expect(kept(whole)).toBeGreaterThan(layers - 2);
    expect(kept(grouped)).toBeLessThan(6 + 6 + 4);
    whole.dispose();
    grouped.dispose();
  }, 120_000);
});
