import { compile, init, key, normal, type Tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { describePerSample, perSampleGradients, perSampleStatistics } from "../src/index";

beforeAll(async () => void (await init()));

const examples = 32;
/** Lazy, and so new for every test: what a device has computed the reference cannot read. */
const makeParams = () => ({
  dense: normal(key(1), [64, 48]),
  shared: normal(key(2), [48, 40]),
  twice: normal(key(3), [40, 40]).mul(0.1),
  bias: normal(key(4), [40]),
  ignored: normal(key(5), [7]),
});
type Params = ReturnType<typeof makeParams>;
const makeBatch = () => ({ x: normal(key(6), [examples, 64]), tokens: normal(key(7), [examples, 3, 48]) });
type Example = ReturnType<typeof makeBatch>;
const loss = (p: Params, { x, tokens }: Example): Tensor => {
  const mixed = tokens.add(x.dot(p.dense).tanh());
  const hidden = mixed.dot(p.shared).add(p.bias).tanh().sum({ axis: 0 });
  return hidden.dot(p.twice).tanh().dot(p.twice).square().sum();
};

const statisticsOf = (p: Params, own: Example) => perSampleStatistics(perSampleGradients(loss, p, own));

describe("statistics of gradients of examples", () => {
  let params = makeParams();
  let batch = makeBatch();
  beforeEach(() => {
    params = makeParams();
    batch = makeBatch();
  });

  it("say before the first step which form each parameter has", () => {
    const forms = describePerSample(loss, params, batch).map(({ name, form, positions }) => [name, form, positions]);
    expect(forms).toEqual([
      ["dense", "outerProduct", 1],
      ["shared", "positions", 3],
      ["twice", "stored", 1],
      ["bias", "stored", 1],
      ["ignored", "stored", 1],
    ]);
  });

  it("are those of a loop over the examples", () => {
    const { squaredNorms, dots, secondMoment, variance, mean } = statisticsOf(params, batch);
    const gradients = perSampleGradients(loss, params, batch);
    const rows = evaluateReference(treeLeaves<Tensor>(gradients)).map(({ values }) => values);
    const found = [squaredNorms, secondMoment, variance, mean].map((tree) =>
      evaluateReference(treeLeaves<Tensor>(tree)).map(({ values }) => values),
    ) as [Float64Array[], Float64Array[], Float64Array[], Float64Array[]];
    rows.forEach((own, leaf) => {
      const size = own.length / examples;
      const at = (n: number, i: number): number => own[n * size + i] as number;
      for (let n = 0; n < examples; n++) {
        const norm = Array.from({ length: size }, (_, i) => at(n, i) ** 2).reduce((sum, value) => sum + value, 0);
        expect(found[0][leaf]?.[n]).toBeCloseTo(norm, 6);
      }
      for (let i = 0; i < size; i += 17) {
        const column = Array.from({ length: examples }, (_, n) => at(n, i));
        const average = column.reduce((sum, value) => sum + value, 0) / examples;
        const moment = column.reduce((sum, value) => sum + value ** 2, 0) / examples;
        expect(found[1][leaf]?.[i]).toBeCloseTo(moment, 8);
        expect(found[2][leaf]?.[i]).toBeCloseTo(moment - average ** 2, 8);
        expect(found[3][leaf]?.[i]).toBeCloseTo(average, 8);
      }
    });
    const [products] = evaluateReference([dots]);
    const expected = rows.reduce((sum, own) => {
      const size = own.length / examples;
      for (let i = 0; i < size; i++) sum += (own[i] as number) * (own[size + i] as number);
      return sum;
    }, 0);
    expect(products?.values[1]).toBeCloseTo(expected, 6);
  });

  it("of a weight without sharing hold no gradients of examples in memory", async () => {
    const only = ({ dense }: Params): readonly Tensor[] => [dense];
    const program = compile((p: Params, own: Example) => {
      const { squaredNorms, secondMoment, variance } = statisticsOf(p, own);
      return [only(squaredNorms), only(secondMoment), only(variance)];
    });
    await Promise.all(treeLeaves<Tensor>(program(params, batch)).map((leaf) => leaf.data()));
    expect(program.statistics().bytesPeak).toBeLessThan((4 * examples * params.dense.size) / 2);
  });

  it("are exact for one example, whose variance is zero, and for gradients that are", async () => {
    const one = { x: batch.x.slice([0, 0], [1, 64]), tokens: batch.tokens.slice([0, 0, 0], [1, 3, 48]) };
    const { variance, mean } = statisticsOf(params, one);
    const size = await mean.dense.abs().max().item();
    expect(await variance.dense.abs().max().item()).toBeLessThan(1e-5 * size ** 2);
    const { squaredNorms } = statisticsOf({ ...params, twice: params.twice.mul(0) }, batch);
    expect([...(await squaredNorms.dense.data())].every((value) => value === 0)).toBe(true);
    expect([...(await squaredNorms.ignored.data())].every((value) => value === 0)).toBe(true);
  });

  it("have a variance from deviations where the noise is far below the mean", async () => {
    const same = {
      x: batch.x.slice([0, 0], [1, 64]).expand([examples, 64]).add(batch.x.mul(1e-4)),
      tokens: batch.tokens.mul(0),
    };
    const statistics = statisticsOf(params, same);
    const [exact] = evaluateReference([statistics.exactVariance().dense]);
    const own = await statistics.exactVariance().dense.data();
    const error = Math.hypot(...Array.from(own, (value, index) => value - (exact?.values[index] as number)));
    expect(error / Math.hypot(...(exact?.values ?? []))).toBeLessThan(1e-2);
  });
});
