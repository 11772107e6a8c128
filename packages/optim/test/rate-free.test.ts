import { valueAndGrad } from "@thalweg/autograd";
import { init, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference, expectClose } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import type { Extra, GradientTransformation, TensorTree } from "../src/index";
import * as optim from "../src/index";
import { begin, numbers, training } from "./training";

beforeAll(async () => {
  await init();
});

type Params = { readonly weight: Tensor; readonly bias: Tensor };

const initial = (): Params => ({
  weight: tensor([
    [1, -2],
    [0.5, 3],
  ]),
  bias: tensor([0.25, -1]),
});

/** Steeper in some directions than in others. */
const bowl = ({ weight, bias }: Params): Tensor =>
  weight
    .square()
    .mul(
      tensor([
        [1, 2],
        [3, 0.5],
      ]),
    )
    .sum()
    .add(bias.square().sum())
    .add(weight.sum().square());

const values = (tree: unknown): number[] =>
  evaluateReference(treeLeaves<Tensor>(tree)).flatMap((own) => Array.from(own.values));

interface FollowOptions {
  readonly steps: number;
  readonly loss?: (params: Params) => Tensor;
  /** What the gradients are multiplied with. */
  readonly factor?: number;
  readonly extra?: (step: number) => Extra;
}

/** The points of training in float64, the last state, and the update of each step. */
function follow(
  optimizer: GradientTransformation,
  { steps, loss = bowl, factor = 1, extra = () => ({}) }: FollowOptions,
) {
  let params = initial();
  let state = optimizer.init(params);
  const points: Params[] = [];
  const quantities: Record<string, Tensor>[] = [];
  for (let step = 0; step < steps; step++) {
    const [value, slopes] = valueAndGrad(loss)(params);
    const gradients = optim.mapTensors((g) => g.mul(factor), slopes as TensorTree);
    const [updates, next] = optimizer.update(gradients, state, params, {
      loss: value,
      valueAndGrad: (point) => valueAndGrad(loss)(point as Params) as unknown as readonly [Tensor, TensorTree],
      ...extra(step),
    });
    params = optim.applyUpdates(params, updates as Params);
    state = next;
    points.push(params);
    quantities.push(optim.quantities(optimizer, state));
  }
  return { params, state, points, quantities, evaluated: optim.evalParams(optimizer, state, params) };
}

const same = (a: unknown, b: unknown, what = "") => {
  const tolerance = { relative: 1e-12, absolute: 1e-12 };
  expectClose(values(a), values(b), tolerance, what);
};

const identity = () => optim.transformation({ name: "identity", update: (gradients, buffers) => [gradients, buffers] });
const adaptive = () => optim.scaleByAdam({ beta1: 0.9, beta2: 0.99, epsilon: 1e-8 });

describe("estimates of a distance", () => {
  it.each([
    ["prodigy", optim.prodigy({ epsilon: 0, initialDistance: 1e-3 })],
    ["dAdaptAdam", optim.dAdaptAdam({ epsilon: 0, initialDistance: 1e-3 })],
    ["dAdaptSgd", optim.dAdaptSgd({ initialDistance: 1e-3 })],
    ["dog", optim.dog({ epsilon: 0, relativeStart: 1e-3 })],
    ["ldog", optim.ldog({ epsilon: 0, relativeStart: 1e-3 })],
    ["dowg", optim.dowg({ epsilon: 0 })],
    ["cocob", optim.cocob({ epsilon: 0 })],
  ])("%s does not depend on the scale of the gradients", (_, optimizer) => {
    const plain = follow(optimizer, { steps: 12 });
    same(follow(optimizer, { steps: 12, factor: 1024 }).params, plain.params);
    expect(values(plain.params)).not.toEqual(values(initial()));
  });

  it("the estimate of Prodigy grows to the size of the distance", () => {
    const { quantities } = follow(optim.prodigy({ initialDistance: 1e-3 }), { steps: 40 });
    const found = quantities.map(({ d }) => values(d)[0] as number);
    expect(found).toEqual([...found].sort((a, b) => a - b));
    expect(found.at(-1)).toBeGreaterThan(0.05);
  });

  it("Prodigy's third fraction is the root of the second, also of a schedule", () => {
    const options = { initialDistance: 1e-2, beta2: 0.99 };
    const plain = follow(optim.prodigy(options), { steps: 8 });
    // The fractions themselves are f32 numbers.
    const close = (own: Params) =>
      expectClose(values(own), values(plain.params), { relative: 1e-5, absolute: 1e-5 }, "parameters");
    close(follow(optim.prodigy({ ...options, beta3: Math.sqrt(0.99) }), { steps: 8 }).params);
    const beta2 = optim.piecewiseConstant({ initial: 0.99, boundaries: [], factors: [] });
    close(follow(optim.prodigy({ ...options, beta2 }), { steps: 8 }).params);
    const other = follow(optim.prodigy({ ...options, beta3: 0.5 }), { steps: 8 });
    expect(Math.abs((values(other.params)[0] as number) - (values(plain.params)[0] as number))).toBeGreaterThan(1e-3);
  });

  it.each([
    ["dog", optim.dog({ relativeStart: 1e-2 }), { estimate: "dog", relativeStart: 1e-2 }],
    ["ldog", optim.ldog({ relativeStart: 1e-2 }), { estimate: "dog", relativeStart: 1e-2, layerwise: true }],
    ["dowg", optim.dowg(), { estimate: "dowg" }],
    [
      "dAdaptSgd without momentum",
      optim.dAdaptSgd({ momentum: 0, initialDistance: 1e-2 }),
      { estimate: "dAdaptation", initial: 1e-2 },
    ],
  ] as const)("over the gradient itself are %s", (_, record, options) => {
    const plain = follow(optim.scaleByDistanceEstimate(identity(), options), { steps: 15 });
    same(plain.params, follow(record, { steps: 15 }).params);
  });

  it("Prodigy's over the gradient is max(d, Σ d² ⟨g, x0 - x⟩ / ‖Σ d² g‖₁)", () => {
    const quarter = (params: Params) => params.weight.square().sum().mul(0.125).add(params.bias.mul(0).sum());
    const optimizer = optim.scaleByDistanceEstimate(identity(), { estimate: "prodigy", initial: 0.5 });
    const start = values(initial().weight);
    let x = start;
    let [d, numerator, sum] = [0.5, 0, start.map(() => 0)];
    for (let step = 0; step < 9; step++) {
      const g = x.map((own) => own / 4);
      numerator += d * d * g.reduce((total, own, i) => total + own * ((start[i] as number) - (x[i] as number)), 0);
      sum = sum.map((own, i) => own + d * d * (g[i] as number));
      const [before] = [d];
      d = Math.max(d, numerator / sum.reduce((total, own) => total + Math.abs(own), 0));
      x = x.map((own, i) => own - before * (g[i] as number));
    }
    const { params, quantities } = follow(optimizer, { steps: 9, loss: quarter });
    expectClose(values(params.weight), x, { relative: 1e-12, absolute: 1e-12 }, "weights");
    expectClose(values(quantities.at(-1)?.d), [d], { relative: 1e-12, absolute: 0 }, "distance");
    expect(d).toBeGreaterThan(0.5);
  });

  it.each(["dog", "dowg", "prodigy", "dAdaptation"] as const)("%s scales any direction", (estimate) => {
    const optimizer = optim.scaleByDistanceEstimate(adaptive(), { estimate, relativeStart: 1e-3 });
    const before = values(bowl(initial()))[0] as number;
    const { params } = follow(optimizer, { steps: 60 });
    expect(values(bowl(params))[0]).toBeLessThan(before);
    const still = follow(optimizer, { steps: 3, factor: 0 });
    expect(values(still.params)).toEqual(values(initial()));
  });

  it("refuses unknown estimates and directions that have a rate", () => {
    const make = (estimate: string) => () => optim.scaleByDistanceEstimate(identity(), { estimate: estimate as "dog" });
    expect(make("dogs")).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: Unknown estimate of scaleByDistanceEstimate "dogs". Did you mean "dog"? Known: dog, dowg, prodigy, dAdaptation.]`,
    );
    expect(() => optim.scaleByDistanceEstimate(optim.sgd(), { estimate: "dog" })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scaleByDistanceEstimate: sgd has a learning rate of its own. Give a direction without, such as scaleByAdam or scaleByRms.]`,
    );
  });
});

describe("Polyak's step", () => {
  const polyak = () => optim.polyak({ maxStep: 0.1, smoothing: 2 });

  it("grows again after steps without gradient", () => {
    const flat = (params: Params) => bowl(params).mul(0).add(1);
    const optimizer = polyak();
    let state = optimizer.init(initial());
    const etas: number[] = [];
    for (const loss of [bowl, flat, flat, bowl]) {
      const [value, gradients] = valueAndGrad(loss)(initial());
      [, state] = optimizer.update(gradients as Params, state, initial(), { loss: value });
      etas.push(values(optim.quantities(optimizer, state).eta)[0] as number);
    }
    expect(etas.at(-1)).toBeGreaterThan(0);
    expect(etas.every(Number.isFinite)).toBe(true);
  });

  it("minimizes the decay's part, too", () => {
    const decayed = (params: Params) => bowl(params).add(params.weight.square().sum().mul(0.25));
    const inside = follow(optim.polyak({ weightDecay: 0.5 }), { steps: 6 });
    same(inside.params, follow(optim.polyak(), { steps: 6, loss: decayed }).params);
  });

  it("sees the mean loss of accumulated gradients", () => {
    const make = () => optim.polyak({ maxStep: 0 });
    const whole = make();
    const parts = optim.accumulate(make(), { every: 2 });
    const [value, gradients] = valueAndGrad(bowl)(initial());
    const [expected] = whole.update(gradients, whole.init(initial()), initial(), { loss: value });
    const half = (factor: number) =>
      [optim.mapTensors((g) => g.mul(factor), gradients as TensorTree) as Params, { loss: value.mul(factor) }] as const;
    const [first, other] = [half(0.5), half(1.5)];
    const [, middle] = parts.update(first[0], parts.init(initial()), initial(), first[1]);
    const [updates] = parts.update(other[0], middle, initial(), other[1]);
    same(updates, expected);
  });
});

describe("directions that refresh", () => {
  // Grafted, since the first gradients alone leave most of the factors' space without an estimate.
  const shampoo = () =>
    optim.scaleByShampoo({ beta1: 0, beta2: 0.9, epsilon: 1e-6, frequency: 3, start: 1, graft: "adam" });
  const soap = () => optim.scaleBySoap({ beta1: 0, beta2: 0.9, epsilon: 1e-8, frequency: 3 });
  const muon = () => optim.scaleByMuon({ momentum: 0 });
  const square = { weight: initial().weight };
  const loss = ({ weight }: typeof square) => weight.square().sum().add(weight.sum().square());
  const directions = { shampoo, soap, muon };
  const makers: readonly [string, (direction: GradientTransformation) => GradientTransformation][] = [
    ["without schedule", (direction) => optim.scheduleFree(direction, { learningRate: 0.1 })],
    ["DoG", (direction) => optim.scaleByDistanceEstimate(direction, { estimate: "dog", relativeStart: 1e-2 })],
    [
      "D-Adaptation",
      (direction) => optim.scaleByDistanceEstimate(direction, { estimate: "dAdaptation", initial: 0.1 }),
    ],
  ];

  it.each(
    makers.flatMap(([how, make]) =>
      Object.entries(directions).map(([name, direction]) => [how, name, () => make(direction())] as const),
    ),
  )("%s goes down a bowl with %s", async (_, name, make) => {
    const optimizer = make();
    expect([0, 1, 2, 3, 4].some((step) => optimizer.refreshesAt(step) !== false)).toBe(name !== "muon");
    const { run } = training(optimizer, loss);
    const { params, optimizer: state } = run(begin(optimizer, square), 0, 60);
    const [before, after] = [await loss(square).item(), await loss(optim.evalParams(optimizer, state, params)).item()];
    expect(after).toBeLessThan(before / 2);
  });
});

describe("Schedule-Free", () => {
  it("without interpolation evaluates the plain average of the points", () => {
    const optimizer = optim.scheduleFreeSgd({ learningRate: 0.05, beta1: 0, weightRatePower: 0 });
    const { points, evaluated } = follow(optimizer, { steps: 7 });
    const [first, ...rest] = points as [Params, ...Params[]];
    const sum = rest.reduce((a, b) => optim.mapTensors((x, y) => x.add(y), a, b) as Params, first);
    same(
      evaluated,
      optim.mapTensors((x) => x.div(7), sum),
    );
  });

  it("over a chain is the record", () => {
    const shared = { learningRate: 0.02, warmupSteps: 3, weightDecay: 0.1, weightPower: 1 };
    const record = follow(optim.scheduleFreeAdamw(shared), { steps: 9 });
    const rms = optim.scaleByRms({ decay: 0.999, epsilon: 1e-8, debiased: true });
    const free = follow(optim.scheduleFree(optim.chain(optim.scale(1), rms), shared), { steps: 9 });
    same(free.params, record.params);
    same(free.evaluated, record.evaluated);
  });

  it("refuses what has a learning rate of its own", () => {
    expect(() => optim.scheduleFree(optim.adam(), { learningRate: 1 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scheduleFree: adam has a learning rate of its own. Give a direction without, such as scaleByAdam or scaleByRms.]`,
    );
    const within = optim.chain(optim.scale(1), optim.chain(optim.scaleByLearningRate(1), optim.scaleByLearningRate(1)));
    expect(() => optim.scheduleFree(within, { learningRate: 1 })).toThrow("has a learning rate of its own");
  });
});

describe("Lookahead", () => {
  const momentum = () => optim.momentum({ learningRate: 0.02 });

  it("that goes all the way is the optimizer inside", () => {
    const { points } = follow(momentum(), { steps: 8 });
    const ahead = follow(optim.lookahead(momentum(), { every: 3, alpha: 1 }), { steps: 8 });
    same(ahead.points, points);
    same(ahead.evaluated, points[5]);
  });

  it("begins the inner state anew, from the slow weights", () => {
    const every = 2;
    const inner = () => optim.madgrad({ learningRate: 0.1 });
    const ahead = follow(optim.lookahead(inner(), { every, alpha: 0.5, reset: true }), { steps: 4 });
    // The same by hand: two steps from each slow point, with a state of its own.
    let slow = initial();
    for (let round = 0; round < 2; round++) {
      const optimizer = inner();
      let [fast, state] = [slow, optimizer.init(slow)];
      for (let step = 0; step < every; step++) {
        const [updates, next] = optimizer.update(valueAndGrad(bowl)(fast)[1] as Params, state, fast);
        [fast, state] = [optim.applyUpdates(fast, updates), next];
      }
      slow = optim.mapTensors((s, x) => s.add(x).div(2), slow, fast) as Params;
    }
    same(ahead.params, slow);
    same(ahead.evaluated, slow);
  });

  it("plans refreshes by the steps of an inner rule that begins anew", () => {
    const sophia = () => optim.sophia({ interval: 4 });
    const due = (optimizer: GradientTransformation) =>
      Array.from({ length: 12 }, (_, step) => step).filter((step) => optimizer.refreshesAt(step));
    expect(due(optim.lookahead(sophia(), { every: 6 }))).toEqual([0, 4, 8]);
    expect(due(optim.lookahead(sophia(), { every: 6, reset: true }))).toEqual([0, 4, 6, 10]);
  });

  it("stands in the records with its reset", () => {
    const options = { learningRate: 0.02, every: 2 };
    const kept = follow(optim.lookaheadMomentum(options), { steps: 5 });
    const anew = follow(optim.lookaheadMomentum({ ...options, reset: true }), { steps: 5 });
    expect(values(anew.params)).not.toEqual(values(kept.params));
  });
});

describe("SAM", () => {
  it("with radius 0 is the optimizer inside", () => {
    const inner = () => optim.adamw({ learningRate: 0.05 });
    same(follow(optim.sam(inner(), { rho: 0 }), { steps: 5 }).params, follow(inner(), { steps: 5 }).params);
  });

  it("moves only its part of the parameters to look around", () => {
    const looked: number[][] = [];
    const optimizer = optim.partition(
      {
        matrix: optim.sam(optim.sgd({ learningRate: 0.125 }), { rho: 0.5 }),
        vector: optim.sgd({ learningRate: 0.125 }),
      },
      ({ shape }) => (shape.length >= 2 ? "matrix" : "vector"),
    );
    const extra = (): Extra => ({
      valueAndGrad(point) {
        looked.push(values((point as Params).bias));
        expect(values((point as Params).weight)).not.toEqual(values(initial().weight));
        return valueAndGrad(bowl)(point as Params) as unknown as readonly [Tensor, TensorTree];
      },
    });
    const { params } = follow(optimizer, { steps: 1, extra });
    expect(looked).toEqual([values(initial().bias)]);
    const [, slopes] = valueAndGrad(bowl)(initial());
    same(params.bias, initial().bias.sub((slopes as Params).bias.mul(0.125)));
  });

  it("is told of curvature for its part only", () => {
    const ones = optim.mapTensors((x) => x.fullLike(1), initial());
    const isMatrix = ({ shape }: optim.ParameterInfo) => shape.length >= 2;
    const masked = optim.masked(optim.sophia({ learningRate: 0.1 }), isMatrix);
    const extra = () => ({ curvatureDiagonal: () => ones });
    const alone = follow(optim.sophia({ learningRate: 0.1 }), { steps: 1, extra });
    same(follow(masked, { steps: 1, extra }).params.weight, alone.params.weight);
  });
});

describe("averages of points", () => {
  it("SWA evaluates the point of training before the first one that counts", () => {
    const optimizer = optim.chain(optim.sgd({ learningRate: 0.05 }), optim.swa({ start: 4, every: 2 }));
    const early = follow(optimizer, { steps: 3 });
    same(early.evaluated, early.params);
    const { points, evaluated } = follow(optimizer, { steps: 7 });
    same(
      evaluated,
      optim.mapTensors((a, b) => a.add(b).div(2), points[3] as Params, points[5] as Params),
    );
  });

  it("LAWA evaluates the mean of the points that it has", () => {
    const optimizer = optim.chain(optim.sgd({ learningRate: 0.05 }), optim.lawa({ length: 3, every: 2 }));
    const { points, evaluated } = follow(optimizer, { steps: 5 });
    same(
      evaluated,
      optim.mapTensors((a, b) => a.add(b).div(2), points[1] as Params, points[3] as Params),
    );
  });
});

describe("applyIfFinite", () => {
  const inner = () => optim.adam({ learningRate: 0.1 });
  /** Updates with the gradients of the bowl, of which those named are not finite. */
  function run(optimizer: GradientTransformation, bad: readonly number[], steps: number) {
    let params = initial();
    let state = optimizer.init(params);
    for (let step = 0; step < steps; step++) {
      const [, slopes] = valueAndGrad(bowl)(params);
      const { weight, bias } = slopes as Params;
      const gradients = { weight: bad.includes(step) ? weight.mul(Number.NaN) : weight, bias };
      const [updates, next] = optimizer.update(gradients, state, params);
      [params, state] = [optim.applyUpdates(params, updates), next];
    }
    return { params, skipped: values(optim.quantities(optimizer, state).skipped) };
  }

  it("goes on after steps that are not finite as if they had not been", () => {
    const { params, skipped } = run(optim.applyIfFinite(inner(), { limit: 2 }), [1, 2, 4], 7);
    same(params, run(inner(), [], 4).params);
    expect(skipped).toEqual([0]);
    expect(run(optim.applyIfFinite(inner()), [2, 3], 4).skipped).toEqual([2]);
  });

  it("finds them on the device, where compilers may assume that there are none", async () => {
    // The root of a negative sum is not a number.
    const loss = ({ weight, bias }: Params) => weight.square().sum().add(bias.sum().sqrt());
    const optimizer = optim.applyIfFinite(inner(), { limit: 2 });
    const { run } = training(optimizer, loss);
    const skipped = run(begin(optimizer, initial()), 0, 2);
    expect(await numbers(skipped.params)).toEqual(await numbers(initial()));
    const { skipped: inARow } = optim.quantities(optimizer, skipped.optimizer);
    expect(await inARow?.item()).toBe(2);
    const passed = run(skipped, 2, 3);
    expect((await numbers(passed.params)).flat().every(Number.isFinite)).toBe(false);
  });

  it("lets them pass after so many in a row", () => {
    const { params } = run(optim.applyIfFinite(inner(), { limit: 2 }), [1, 2, 3], 4);
    expect(values(params).every(Number.isFinite)).toBe(false);
  });

  it("keeps the calls' count for rules that refresh", () => {
    expect(optim.applyIfFinite(optim.sophia({ interval: 3 })).refreshesAt(3)).toBe(true);
  });
});
