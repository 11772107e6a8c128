import { type CurvatureProblem, crossEntropy, kroneckerCurvature, squaredError } from "@thalweg/curvature";
import {
  concat,
  key,
  normal,
  placeholder,
  scaledDotProductAttention,
  type Tensor,
  tensor,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";
import { evaluateReference, type NdArray } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import {
  applyIfFinite,
  chain,
  ekfac,
  type GradientTransformation,
  kfac,
  kfacReduce,
  lookahead,
  masked,
  quantities,
  schedule,
  singd,
} from "../src/index";
import { at, curvature, type Params, type Setting, type State, start, stepOf, usualBatch } from "./kfac-setting";

/** Training in float64, where the steps decide what is due. @param broken steps whose batch is not a number. */
function simulated(
  optimizer: GradientTransformation,
  steps: number,
  setting: Setting & { readonly broken?: number } = {},
) {
  const { step, examples, begin } = stepOf(optimizer, setting);
  const before = begin();
  const slots = treeMap((x: Tensor) => placeholder(x.shape, x.dtype), before as never) as State;
  const batch = placeholder(examples.shape, "f32");
  const [next, loss] = step(slots, batch, "start");
  const [from, to] = [treeLeaves<Tensor>(slots), treeLeaves<Tensor>(next)];
  const seen = quantities(optimizer, next.own);
  const [x] = evaluateReference([examples]) as [NdArray];
  let values = evaluateReference(treeLeaves<Tensor>(before));
  const losses: number[] = [];
  const states: (readonly NdArray[])[] = [values];
  let known: Record<string, number> = {};
  for (let index = 0; index < steps; index++) {
    const given = index === setting.broken ? { ...x, values: x.values.map(() => Number.NaN) } : x;
    const bindings = new Map<Tensor, NdArray>(from.map((slot, place) => [slot, values[place] as NdArray]));
    bindings.set(batch, given as NdArray);
    const all = evaluateReference([...to, loss, ...Object.values(seen)], bindings);
    values = all.slice(0, to.length);
    states.push(values);
    losses.push(all[to.length]?.values[0] as number);
    known = Object.fromEntries(
      Object.keys(seen).map((name, place) => [name, all[to.length + 1 + place]?.values[0] as number]),
    );
  }
  /** The parameters after so many steps. */
  const paramsAt = (count: number): Readonly<Record<string, readonly number[]>> => {
    const tree = treeUnflatten(treeFlatten<Tensor>(slots).structure, states[count] as NdArray[]) as unknown as {
      readonly params: Readonly<Record<string, NdArray>>;
    };
    return Object.fromEntries(Object.entries(tree.params).map(([name, own]) => [name, Array.from(own.values)]));
  };
  /** K of each layer, of SINGD. */
  const roots = Object.fromEntries(
    Object.entries(
      (slots.own.buffers as { readonly roots?: Readonly<Record<string, { readonly k: Tensor }>> }).roots ?? {},
    ).map(([name, { k }]) => {
      const { values: own, shape } = values[from.indexOf(k)] as NdArray;
      return [name, tensor(Float32Array.from(own), { shape })] as const;
    }),
  );
  return { losses, known, paramsAt, roots, staysFinite: values.every((own) => own.values.every(Number.isFinite)) };
}

const lengthOf = (...lists: (readonly number[] | undefined)[]): number =>
  Math.hypot(...lists.flatMap((own) => own ?? []));

const difference = (a: readonly number[] = [], b: readonly number[] = []): number[] =>
  a.map((value, index) => value - (b[index] as number));

const manners: Readonly<Record<string, () => GradientTransformation>> = {
  "K-FAC with exact damping and Nesterov": () => kfac({ learningRate: 0.1, rule: "exactKronecker", nesterov: true }),
  "K-FAC, reduced, with the root of the inverse": () => kfacReduce({ learningRate: 0.1, power: "inverseRoot" }),
  "K-FAC with AdamW beside it": () => kfac({ learningRate: 0.1, rest: "adamw", graft: "adam", weightDecay: 0.01 }),
  "K-FAC that adapts": () => kfac({ adaptiveSteps: true, adaptiveDamping: true, blockDamping: "curvature" }),
  "K-FAC, measured on a quarter of the batch": () => kfac({ learningRate: 0.1, factorExamples: 6 }),
  EKFAC: () => ekfac({ learningRate: 0.1, factorInterval: 2, inverseInterval: 4 }),
  INGD: () => singd({ learningRate: 0.1, damping: 0.01, interval: 2 }),
  "EKFAC, measured on a quarter of the batch": () => ekfac({ learningRate: 0.1, factorExamples: 6 }),
  "INGD, measured on a quarter of the batch": () =>
    singd({ learningRate: 0.1, damping: 0.01, interval: 2, factorExamples: 6 }),
  "SINGD, hierarchical and normalized": () =>
    singd({ learningRate: 0.1, structure: "hierarchical", blockSize: 4, interval: 2, normalized: true }),
};

it.each(Object.keys(manners))("%s lowers the loss", (name) => {
  const { losses, staysFinite } = simulated((manners[name] as () => GradientTransformation)(), 12);
  expect(losses.at(-1)).toBeLessThan(0.9 * (losses[0] as number));
  expect(staysFinite).toBe(true);
});

it("steps with factors of a quarter of the batch are those of a batch of that quarter, if its gradient is the same", () => {
  // The same examples four times: the gradient of the batch is that of the first quarter.
  const repeated = (x: Tensor): Tensor => concat([x, x, x, x]);
  const { inputs, targets } = usualBatch();
  const few = { inputs: inputs.slice([0, 0], [6, 6]), targets: targets.slice([0], [6]) };
  const many = { inputs: repeated(few.inputs), targets: repeated(few.targets) };
  const measuring = simulated(kfac({ learningRate: 0.1, factorExamples: 6 }), 5, many);
  const alone = simulated(kfac({ learningRate: 0.1 }), 5, few);
  for (const [name, values] of Object.entries(alone.paramsAt(5))) {
    expect(lengthOf(difference(measuring.paramsAt(5)[name], values)), name).toBeLessThan(1e-9 * lengthOf(values));
  }
});

describe("the rare work", () => {
  it("inverts the blocks of a group in its turn", () => {
    const optimizer = kfac({ learningRate: 0.1, factorInterval: 2, inverseInterval: 4, stagger: 2 });
    const { known } = simulated(optimizer, 7);
    expect(new Set(curvature.blocks.map(({ name }) => known[`${name} refreshed`]))).toEqual(new Set([4, 6]));
  });

  it("moves nothing in the burn-in, and measures", () => {
    const optimizer = kfac({ learningRate: 0.1, burnIn: 3, graft: "momentum", rest: "adamw", adaptiveDamping: true });
    const { paramsAt, known } = simulated(optimizer, 4);
    expect(paramsAt(3)).toEqual(paramsAt(0));
    expect(paramsAt(4)).not.toEqual(paramsAt(0));
    expect(known["w1 refreshed"]).toBe(3);
  });
});

describe("damping", () => {
  /** A linear regression: the quadratic model is the loss. */
  const linear: Setting = {
    problem: { loss: squaredError, model: (p, x) => x.dot(at(p, "w")) },
    params: { w: normal(key(5), [6, 2]) },
    targets: normal(key(6), [24, 2]),
  };

  it("that adapts falls by omega for every step while the model is exact", () => {
    const optimizer = kfac({ learningRate: 0.2, damping: 0.1, adaptiveDamping: true, momentum: 0 });
    // Changed at steps 5 and 10.
    expect(simulated(optimizer, 11, linear).known.damping).toBeCloseTo(0.1 * 0.95 ** 10, 7);
  });

  it("that adapts counts coupled weight decay as part of the loss", () => {
    const optimizer = kfac({
      learningRate: 0.2,
      damping: 0.1,
      adaptiveDamping: true,
      momentum: 0,
      weightDecay: 0.3,
      decoupled: false,
    });
    expect(simulated(optimizer, 11, linear).known.damping).toBeCloseTo(0.1 * 0.95 ** 10, 7);
  });

  it("that adapts rises where the loss is not a number", () => {
    const optimizer = kfac({ learningRate: 0.2, damping: 0.1, adaptiveDamping: true });
    expect(simulated(optimizer, 6, { ...linear, broken: 5 }).known.damping).toBeCloseTo(0.1 / 0.95 ** 5, 7);
  });

  it("of a block is relative to its curvature, or to the length of its gradient", () => {
    const relative = kfac({ damping: 0.1, blockDamping: "curvature", rule: "exactKronecker" });
    const { known } = simulated(relative, 1);
    for (const { name } of curvature.blocks) {
      expect(known[`${name} scale`]).toBeGreaterThan(0);
      expect(known[`${name} damping`]).toBeCloseTo(0.1 * (known[`${name} scale`] as number), 8);
      expect(known[`${name} recoveries`]).toBe(0);
      expect(known[`${name} condition`]).toBeGreaterThanOrEqual(1);
    }
    const byGradient = kfac({ damping: 1e-3, blockDamping: "gradient", gradientDamping: 0.04 });
    const length = lengthOf(gradientAtStart.w1, gradientAtStart.b1);
    expect(simulated(byGradient, 1).known["w1 damping"]).toBeCloseTo(Math.sqrt(0.04 * length), 6);
  });

  it.each([0, 1, 3])("of the quadratic model is λ times a number of its own: %s", (modelDamping) => {
    const optimizer = kfac({ damping: 0.2, adaptiveSteps: true, modelDamping });
    const { paramsAt } = simulated(optimizer, 1, linear);
    const [before, after] = [paramsAt(0).w as number[], paramsAt(1).w as number[]];
    const w = placeholder([6, 2], "f32");
    const { model } = linear.problem as CurvatureProblem<Params>;
    const wanted = { inputs: usualBatch().inputs, targets: linear.targets as Tensor };
    const { gradients } = kroneckerCurvature({ model, loss: squaredError }, { w }, wanted).evaluate({ w }, wanted);
    const values = Float64Array.from(after);
    const [g] = evaluateReference([gradients.w as Tensor], new Map([[w, { shape: [6, 2], dtype: "f32", values }]]));
    // Where the model is the loss, its minimum along the step d has dᵀ g = -m λ dᵀ d.
    const d = difference(after, before);
    const slope = d.reduce((sum, own, index) => sum + own * (g?.values[index] as number), 0);
    expect(slope / lengthOf(d) ** 2).toBeCloseTo(-modelDamping * 0.2, 6);
  });

  it("next to none lets the quadratic model solve a linear regression in one step", () => {
    const optimizer = kfac({ damping: 1e-6, adaptiveSteps: true, rule: "exactKronecker" });
    const { paramsAt } = simulated(optimizer, 2, linear);
    const [first, second] = [paramsAt(1).w, paramsAt(2).w];
    expect(lengthOf(difference(first, second))).toBeLessThan(1e-4 * lengthOf(first));
  });
});

describe("steps that are rejected", () => {
  const wild = { learningRate: 20, clip: 0, adaptiveDamping: true, inverseInterval: 5 } as const;
  const makers = { kfac, kfacReduce, ekfac };
  /** The steps that did not move. */
  const still = ({ paramsAt }: ReturnType<typeof simulated>, steps: number): readonly number[] =>
    Array.from({ length: steps }, (_, index) => index).filter((index) =>
      Object.entries(paramsAt(index)).every(
        ([name, own]) => lengthOf(difference(own, paramsAt(index + 1)[name])) === 0,
      ),
    );

  it.each(["kfac", "kfacReduce", "ekfac"] as const)("let a learning rate that is far too large descend: %s", (name) => {
    expect(simulated(makers[name](wild), 10).losses.at(-1)).toBeGreaterThan(1e3);
    const run = simulated(makers[name]({ ...wild, rejectSteps: true }), 60);
    run.losses.slice(1).forEach((loss, index) => expect(loss).toBeLessThanOrEqual(run.losses[index] as number));
    expect(run.losses.at(-1)).toBeLessThan(0.5 * (run.losses[0] as number));
    expect(run.known.rejected).toBeGreaterThan(5);
    expect(run.known.rejected).toBe(still(run, 60).length);
  });

  it("raise λ once for each inversion, and at once where λ is not inside of inverses", () => {
    const damping = { damping: 0.01, dampingInterval: 100, rejectSteps: true };
    const run = (steps: number) => simulated(kfac({ ...wild, ...damping, stagger: 1 }), steps).known.damping;
    expect([1, 4, 5, 6, 10, 11].map(run)).toEqual(
      [0.02, 0.02, 0.02, 0.04, 0.04, 0.08].map((x) => expect.closeTo(x, 8)),
    );
    const steep = simulated(ekfac({ ...wild, ...damping, rejectionFactor: 3 }), 4).known;
    expect(steep).toMatchObject({ rejected: 4, damping: expect.closeTo(0.01 * 3 ** 4, 6) });
    const bounded = simulated(ekfac({ ...wild, ...damping, largestDamping: 0.05 }), 6).known.damping;
    expect(bounded).toBeCloseTo(0.05, 8);
  });

  it("leave λ as it is where it does not adapt", () => {
    const { paramsAt, known } = simulated(kfac({ ...wild, adaptiveDamping: false, rejectSteps: true }), 4);
    expect(known).toMatchObject({ rejected: 4, "w1 damping": expect.closeTo(0.01, 8) });
    expect(known).not.toHaveProperty("damping");
    expect(paramsAt(4)).toEqual(paramsAt(0));
  });

  it("are those of batches that are not finite, and leave no trace in what moves", () => {
    const options = { learningRate: 0.1, adaptiveDamping: true, rest: "adamw", graft: "adam" } as const;
    const run = simulated(kfac({ ...options, rejectSteps: true }), 9, { broken: 5 });
    expect(still(run, 9)).toEqual([5]);
    expect(run.known).toMatchObject({ rejected: 1, skipped: 1 });
    expect(run.staysFinite).toBe(true);
    expect(run.losses.at(-1)).toBeLessThan(run.losses[5 - 1] as number);
  });

  it("are none where the loss falls: all is as without the option", () => {
    const options = { adaptiveSteps: true, adaptiveDamping: true } as const;
    const [free, watched] = [options, { ...options, rejectSteps: true }].map((own) => simulated(kfac(own), 8));
    expect(watched?.known.rejected).toBe(0);
    expect(watched?.paramsAt(8)).toEqual(free?.paramsAt(8));
  });
});

const gradientAtStart = Object.fromEntries(
  Object.entries(curvature.evaluate(start(), usualBatch()).gradients).map(([name, own]) => [
    name,
    Array.from(evaluateReference([own])[0]?.values ?? []),
  ]),
);

describe("a direction", () => {
  const decay = 0.1;
  /** How far the first layer moves in the first step. */
  const firstStep = (graft: "gradient" | "sgd" | "momentum" | "adam"): number => {
    const optimizer = kfac({
      learningRate: 1,
      momentum: 0,
      clip: 0,
      graft,
      weightDecay: decay,
      decoupled: false,
      decayMask: "all",
    });
    const { paramsAt } = simulated(optimizer, 1);
    return lengthOf(...["w1", "b1"].map((name) => difference(paramsAt(1)[name], paramsAt(0)[name])));
  };

  it("has the length of the gradient, or of the step of SGD, heavy ball or Adam", () => {
    const { paramsAt } = simulated(kfac(), 0);
    const decayed = ["w1", "b1"].map((name) =>
      (gradientAtStart[name] as number[]).map((g, index) => g + decay * (paramsAt(0)[name]?.[index] as number)),
    );
    expect(firstStep("gradient")).toBeCloseTo(lengthOf(gradientAtStart.w1, gradientAtStart.b1), 6);
    expect(firstStep("sgd")).toBeCloseTo(lengthOf(...decayed), 6);
    // The first velocity is the gradient, and Adam's first step is one per element.
    expect(firstStep("momentum")).toBeCloseTo(lengthOf(...decayed), 6);
    expect(firstStep("adam")).toBeCloseTo(Math.sqrt(decayed.flat().length), 4);
  });

  it("is shortened to the limit on the divergence", () => {
    const clip = 1e-4;
    const optimizer = kfac({ learningRate: 0.5, momentum: 0, clip });
    const { paramsAt } = simulated(optimizer, 1);
    // What moved is -α ν u, so that α² ν² ⟨u, g⟩ = κ is α ⟨moved, -g⟩ ν; without the limit ν is 1.
    const slope = (own: typeof paramsAt): number =>
      Object.entries(gradientAtStart).reduce(
        (sum, [name, g]) =>
          sum - difference(own(1)[name], own(0)[name]).reduce((s, d, i) => s + d * (g[i] as number), 0),
        0,
      );
    const free = slope(simulated(kfac({ learningRate: 0.5, momentum: 0, clip: 0 }), 1).paramsAt);
    const nu = Math.sqrt(clip / (0.5 * free));
    expect(nu).toBeLessThan(1);
    expect(slope(paramsAt)).toBeCloseTo(nu * free, 8);
  });

  it("is AdamW's for parameters outside of layers, if they are left to it", () => {
    const optimizer = kfac({ learningRate: 0.1, rest: "adamw", restLearningRate: 0.01 });
    const { paramsAt } = simulated(optimizer, 1);
    // Adam's first step is the learning rate against the sign of the gradient.
    for (const name of ["scale", "shift"]) {
      const moved = difference(paramsAt(1)[name], paramsAt(0)[name]);
      const expected = (gradientAtStart[name] as number[]).map((g) => -0.01 * Math.sign(g));
      expect(moved, name).toEqual(expected.map((value) => expect.closeTo(value, 5)));
    }
    expect(Math.abs(difference(paramsAt(1).w1, paramsAt(0).w1)[0] as number)).not.toBeCloseTo(0.01, 4);
  });
});

describe("what can go wrong", () => {
  it("a batch that is not finite is left out of the factors and counted, and a loop can leave out its step", () => {
    const optimizer = applyIfFinite(kfac({ learningRate: 0.1, inverseInterval: 1, adaptiveDamping: true }));
    const { paramsAt, staysFinite, losses } = simulated(optimizer, 9, { broken: 5 });
    expect(losses[5]).toBeNaN();
    expect(paramsAt(6)).toEqual(paramsAt(5));
    expect(paramsAt(7)).not.toEqual(paramsAt(5));
    expect(staysFinite).toBe(true);
    const bare = simulated(kfac({ learningRate: 0.1, inverseInterval: 1 }), 3, { broken: 2 });
    expect(bare.known.skipped).toBe(1);
    expect(bare.known["w1 condition"]).toBeGreaterThan(1);
  });

  it("a batch of one trains", () => {
    const single = { inputs: usualBatch().inputs.slice([0, 0], [1, 6]), targets: tensor(Int32Array.of(2)) };
    const { losses, staysFinite } = simulated(kfac({ learningRate: 0.1 }), 10, single);
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);
    expect(staysFinite).toBe(true);
  });

  it("keys of an attention, whose reduced factor is zero, and a parameter that the loss ignores", () => {
    const params: Params = {
      q: normal(key(21), [4, 4]),
      k: normal(key(22), [4, 4]),
      v: normal(key(23), [4, 4]),
      head: normal(key(24), [4, 3]),
      ignored: normal(key(25), [3, 2]),
    };
    const problem: CurvatureProblem<Params> = {
      loss: crossEntropy,
      model(p, x) {
        const [q, k, v] = ["q", "k", "v"].map((name) => x.dot(at(p, name), { contract: [[2], [0]] }));
        const mixed = scaledDotProductAttention(q as Tensor, k as Tensor, v as Tensor);
        return mixed.mean({ axis: 1 }).dot(at(p, "head"));
      },
    };
    const setting = {
      problem,
      params,
      inputs: normal(key(26), [6, 5, 4]),
      targets: usualBatch().targets.slice([0], [6]),
    };
    const { losses, staysFinite, known, paramsAt } = simulated(
      kfacReduce({ learningRate: 0.1, damping: 0.1 }),
      10,
      setting,
    );
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);
    expect(staysFinite).toBe(true);
    expect(paramsAt(10).ignored).toEqual(paramsAt(0).ignored);
    expect(known["k scale"]).toBe(1);
    expect(known["ignored clipped"]).toBe(1);
  });

  it("an inversion that fails keeps the inverse before and raises λ of its block tenfold", () => {
    // A λ that is not a number for one step, of a schedule that breaks.
    const broken = schedule("broken", {}, (step) => step.equal(1).where(Number.NaN, 0.01));
    const optimizer = kfac({ learningRate: 0.01, damping: broken, inverseInterval: 1, rule: "sqrtBoth" });
    const { known, paramsAt } = simulated(optimizer, 2);
    expect(known).toMatchObject({ "w1 recoveries": 1, "w1 boost": 10, "w1 refreshed": 0, skipped: 3 });
    expect(paramsAt(2).w1?.every(Number.isFinite)).toBe(true);
    const after = simulated(kfac({ learningRate: 0.01, damping: broken, inverseInterval: 1 }), 3).known;
    expect(after["w1 damping"]).toBeCloseTo(0.1, 6);
  });

  it("options and uses that do not fit are refused", () => {
    expect(() => kfac({ factorInterval: 3, inverseInterval: 10 })).toThrow(/no multiple/);
    expect(() => kfac({ damping: 0 })).toThrow(/damping/);
    expect(() => kfac({ rule: "heuristic" as "heuristicPi" })).toThrow(/one of/);
    expect(() => kfac({ lowerRatio: 0.9 })).toThrow(/above upperRatio/);
    const optimizer = kfac();
    expect(() => optimizer.init(start())).toThrow(/kfac needs the blocks of the model/);
    const state = optimizer.init(start(), curvature);
    expect(() => optimizer.update(start(), state, start())).toThrow(/kfac needs the kronecker/);
    expect(() => masked(optimizer, () => true)).toThrow(/Use its option rest/);
    expect(() => chain(optimizer, singd())).toThrow(/want a curvature each/);
    expect(() => singd().init(start(), { blocks: [] })).toThrow(/no parameter of the model is a layer/);
    expect(lookahead(optimizer).rule.curvature).toEqual({ flavour: "expand", fisher: "mc", draws: 1 });
    expect(() => kfac({ factorExamples: -1 })).toThrow(/factorExamples/);
    for (const measuring of [kfac({ factorExamples: 8 }), singd({ factorExamples: 8 })]) {
      expect(measuring.rule.curvature).toEqual({ flavour: "expand", fisher: "mc", draws: 1, examples: 8 });
    }
  });
});

describe("SINGD", () => {
  it.each(["dense", "lowerTriangular", "upperTriangular"] as const)(
    "finds the inverse of a factor, %s roots",
    (structure) => {
      const optimizer = singd({
        learningRate: 0,
        damping: 0.1,
        likeKfac: true,
        preconditionerRate: 0.3,
        interval: 1,
        structure,
      });
      const problem: CurvatureProblem<Params> = { loss: squaredError, model: (p, x) => x.dot(at(p, "w")) };
      const { roots } = simulated(optimizer, 60, {
        problem,
        params: { w: normal(key(5), [6, 2]) },
        targets: normal(key(6), [24, 2]),
      });
      const { inputs } = usualBatch();
      const covariance = inputs
        .transpose()
        .matmul(inputs)
        .mul(1 / 24);
      const identity = covariance.iotaLike(0).equal(covariance.iotaLike(1)).cast("f32");
      const root = (roots.w as Tensor).reshape([6, 6]);
      // Kᵀ (A + λ I) K is the identity exactly where K Kᵀ is the inverse.
      const left = root
        .transpose()
        .matmul(covariance.add(identity.mul(0.1)))
        .matmul(root)
        .sub(identity);
      expect(lengthOf(Array.from(evaluateReference([left])[0]?.values ?? []))).toBeLessThan(1e-4);
    },
  );
});
