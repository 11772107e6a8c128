import { grad, vmap } from "@thalweg/autograd";
import { concat, eye, key, linalg, scalar, split, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import {
  type CurvatureProblem,
  crossEntropy,
  ggnOperator,
  jacobianOperator,
  kroneckerCurvature,
  type LaplaceDampingRule,
  type LaplaceHyperparameters,
  type LaplaceOptions,
  type LaplaceStructure,
  laplace,
  laplaceBridge,
  laplaceFit,
  logPredictiveDensity,
  type MatrixFactors,
  meanProbabilities,
  probit,
  squaredError,
  toDense,
} from "../src/index";
import type { Prior } from "../src/laplace/precision";
import { sumsOf } from "../src/laplace/sums";
import { restrict, uncertainTensors } from "../src/laplace/uncertain";
import { dataOf, hidden, hyperparametersOf, paramsOf, regression, structures } from "./laplace-models";
import { distance, norm, numbers, type Params, random } from "./numbers";

const one = (x: Tensor): number => numbers([x])[0]?.[0] as number;

/** Two tensors are the same to float64 rounding times what a few solves lose. */
function expectSame(actual: Tensor, expected: Tensor, tolerance = 1e-9): void {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = numbers([actual, expected]) as [number[], number[]];
  expect(distance(a, b)).toBeLessThan(tolerance * Math.max(norm(b), 1e-3));
}

const params = paramsOf();
const data = dataOf();
const at = hyperparametersOf();

describe("the functional form is the full one", () => {
  const full = laplace(regression, params, data, { structure: "full" });
  const functional = laplace(regression, params, data, { structure: "functional" });
  const inputs = random(9, [3, 2]);

  it("in float64", () => {
    const deltas: LaplaceHyperparameters[] = [at, { ...at, logPriorPrecision: random(10, [23]).mul(0.3) }];
    for (const own of deltas) {
      expectSame(functional.evidence(own).logEvidence, full.evidence(own).logEvidence);
      expectSame(functional.effectiveParametersByTensor(own), full.effectiveParametersByTensor(own));
      expectSame(functional.predict(inputs, own).covariance, full.predict(inputs, own).covariance);
      expectSame(functional.predictJoint(inputs, own).covariance, full.predictJoint(inputs, own).covariance);
      const variances = treeLeaves<Tensor>(full.variances(own));
      treeLeaves<Tensor>(functional.variances(own)).forEach((leaf, index) =>
        expectSame(leaf, variances[index] as Tensor),
      );
    }
  });
});

describe("a last layer", () => {
  const only = ["V", "c"];
  const inputs = random(9, [4, 2]);
  /** The same numbers in a graph whose end is no movement, so that Jacobians have to do. */
  const disguised: typeof regression = { ...regression, model: (p, x) => regression.model(p, x).mul(scalar(1)) };
  const spellings: Readonly<Record<string, typeof regression>> = {
    "contraction and broadcast": regression,
    "weight on the left": {
      ...regression,
      model: (p, x) =>
        (p.V as Tensor)
          .dot(hidden(p, x), { contract: [[1], [1]] })
          .transpose()
          .add(p.c as Tensor),
    },
  };
  const kinds: readonly LaplaceOptions[] = [
    { structure: "full" },
    { structure: "diagonal" },
    { structure: "kronecker" },
    { structure: "kronecker", bias: "joint" },
    { structure: "kronecker", dampingRule: "sqrtBoth" },
  ];

  for (const kind of kinds) {
    const own = kind.bias === "joint" ? { ...at, logPriorPrecision: scalar(0.3) } : at;
    it(`${Object.values(kind).join(", ")} needs no Jacobian, and has the same covariances`, () => {
      for (const problem of Object.values(spellings)) {
        for (const parameters of kind.bias === "joint" ? [only] : [only, ["V"]]) {
          const options = { ...kind, parameters };
          const head = laplace(problem, params, data, options);
          const general = laplace(disguised, params, data, options);
          expectSame(head.predict(inputs, own).covariance, general.predict(inputs, own).covariance);
          expectSame(head.predict(inputs, own).mean, problem.model(params, inputs));
          expectSame(head.predictVariance(inputs, own).variance, general.predictVariance(inputs, own).variance);
          expectSame(head.predictJoint(inputs, own).covariance, general.predictJoint(inputs, own).covariance);
        }
      }
    });
  }

  it("of several loss terms for each example has its outputs in the same places", () => {
    const tokens: typeof regression = {
      loss: squaredError,
      model: (p, x) => x.dot(p.V as Tensor, { contract: [[2], [1]] }).add(p.c as Tensor),
    };
    const sequences = { inputs: random(11, [3, 2, 3]), targets: random(12, [3, 2, 2]) };
    const plain = { ...tokens, model: (p: Params, x: Tensor) => tokens.model(p, x).mul(scalar(1)) };
    for (const structure of ["full", "kronecker", "diagonal"] as const) {
      const own: Params = { V: params.V as Tensor, c: params.c as Tensor };
      const head = laplace(tokens, own, sequences, { structure });
      const general = laplace(plain, own, sequences, { structure });
      const prior = { logPriorPrecision: tensor([0.2, -0.3]) };
      expectSame(head.predict(sequences.inputs, prior).covariance, general.predict(sequences.inputs, prior).covariance);
      expectSame(
        head.predictVariance(sequences.inputs, prior).variance,
        general.predictVariance(sequences.inputs, prior).variance,
      );
    }
  });

  it("may have more than a hundred outputs, other parameters may not", () => {
    const classes = 120;
    const wide: Params = { ...params, V: random(13, [classes, 3]), c: random(14, [classes]) };
    const problem: CurvatureProblem<Params> = { ...regression, loss: crossEntropy };
    const batch = { inputs: data.inputs, targets: tensor(Int32Array.from([3, 50, 119, 0, 7])) };
    for (const structure of ["kronecker", "diagonal", "full"] as const) {
      const posterior = laplace(problem, wide, batch, { structure, parameters: only });
      expect(posterior.predictVariance(inputs, { logPriorPrecision: scalar(0) }).variance.shape).toEqual([4, classes]);
    }
    const { variance } = laplace(problem, wide, batch, { parameters: only }).predictVariance(inputs, {
      logPriorPrecision: scalar(0),
    });
    // Under the prior alone, a logit has the variance |φ|² + 1; data make it smaller.
    const prior = hidden(wide, inputs).square().sum({ axis: 1 }).add(1);
    const [own, most] = numbers([variance, prior]) as [number[], number[]];
    own.forEach((value, index) => {
      expect(value).toBeGreaterThan(0);
      expect(value).toBeLessThanOrEqual((most[Math.floor(index / classes)] as number) * (1 + 1e-12));
    });
    expect(() => laplace(problem, wide, batch).predict(inputs, { logPriorPrecision: scalar(0) })).toThrow(
      /120 outputs .* name the last layer's tensors/,
    );
  });
});

/** P⁻¹ of a structure as a matrix, by its products. */
function covarianceOf(
  structure: LaplaceStructure,
  own: LaplaceHyperparameters,
  dampingRule: LaplaceDampingRule = "exactKronecker",
): Tensor {
  const { problem, uncertain } = restrict(
    { ...regression, reduction: "sum" },
    params,
    uncertainTensors(params, undefined),
  );
  const sums = sumsOf(problem, uncertain, data, {
    structure,
    dampingRule,
    bias: "separate",
    fisher: "type2",
    draws: 1,
  });
  const precision = sums.precision(sums.of(problem, uncertain, data, {}));
  const leaves = Object.values(params);
  const log = leaves.map((_, index) => own.logPriorPrecision.slice([index], [index + 1]).reshape([]));
  const logFactor = (own.logNoise as Tensor).mul(-2);
  const prior: Prior = { log, delta: log.map((x) => x.exp()), logFactor, factor: logFactor.exp() };
  const count = leaves.reduce((sum, { size }) => sum + size, 0);
  let start = 0;
  const units = leaves.map((leaf) => {
    start += leaf.size;
    return eye(count)
      .slice([0, start - leaf.size], [count, start])
      .reshape([count, ...leaf.shape]);
  });
  const rows = precision.solve(units, prior).map((x) => x.reshape([count, -1]));
  return rows.slice(1).reduce(
    (all, x) =>
      all
        .transpose()
        .pad([
          [0, x.shape[1] as number],
          [0, 0],
        ])
        .transpose()
        .add(
          x.pad([
            [0, 0],
            [all.shape[1] as number, 0],
          ]),
        ),
    rows[0] as Tensor,
  );
}

describe("draws", () => {
  const count = 3000;

  const kinds: readonly (readonly [LaplaceStructure, LaplaceDampingRule])[] = [
    ...structures.map((structure) => [structure, "exactKronecker"] as const),
    ["kronecker", "sqrtBoth"],
  ];

  it.each(kinds)("of a %s posterior, damping %s, have its mean and its covariance", (structure, dampingRule) => {
    const posterior = laplace(regression, params, data, { structure, dampingRule });
    const draws = vmap((each: Tensor) => posterior.sample(each, at))(split(key(21), count));
    const means = treeLeaves<Tensor>(params).map((leaf) => leaf.flatten());
    const [expected, ...flat] = numbers([
      covarianceOf(structure, at, dampingRule),
      ...treeLeaves<Tensor>(draws).map((leaf, index) => leaf.reshape([count, -1]).sub(means[index] as Tensor)),
    ]) as [number[], ...number[][]];
    const sizes = means.map(({ size }) => size);
    const columns = flat.flatMap((values, leaf) => {
      const size = sizes[leaf] as number;
      return Array.from({ length: size }, (_, at) => values.filter((_, index) => index % size === at));
    });
    const total = columns.length;
    const entry = (i: number, j: number): number => expected[i * total + j] as number;
    for (let i = 0; i < total; i++) {
      const own = columns[i] as number[];
      // Five and a half standard errors: of 300 comparisons, one in 10⁵ such runs would be further off.
      const mean = own.reduce((sum, value) => sum + value, 0) / count;
      expect(Math.abs(mean)).toBeLessThan(5.5 * Math.sqrt(entry(i, i) / count));
      for (let j = 0; j <= i; j++) {
        const found = own.reduce((sum, value, index) => sum + value * (columns[j]?.[index] as number), 0) / count;
        const error = Math.sqrt((entry(i, i) * entry(j, j) + entry(i, j) ** 2) / count);
        expect(Math.abs(found - entry(i, j)), `${i}, ${j}`).toBeLessThan(5.5 * error);
      }
    }
  });

  it.each(structures)("of a %s posterior agree with its variances, and its products with the sum", (structure) => {
    const posterior = laplace(regression, params, data, { structure });
    const covariance = covarianceOf(structure, at);
    const variances = treeLeaves<Tensor>(posterior.variances(at)).map((leaf) => leaf.flatten());
    const [own, all] = [numbers(variances).flat(), numbers([covariance])[0] as number[]];
    const size = own.length;
    expect(
      distance(
        own,
        own.map((_, index) => all[index * size + index] as number),
      ),
    ).toBeLessThan(1e-9 * norm(own));
    // γ of a tensor: what of its variance under the prior is gone.
    const gamma = numbers([posterior.effectiveParametersByTensor(at)])[0] as number[];
    const logs = numbers([at.logPriorPrecision])[0] as number[];
    const expected = variances.map((leaf, index) => {
      const values = numbers([leaf])[0] as number[];
      return values.reduce((sum, value) => sum + 1 - Math.exp(logs[index] as number) * value, 0);
    });
    expect(distance(gamma, expected)).toBeLessThan(1e-9 * norm(expected));
  });

  it("of outputs have the covariance of the linearised model", () => {
    const posterior = laplace(regression, params, data, { structure: "kronecker" });
    const inputs = random(9, [2, 2]);
    const outputs = posterior.sampleOutputs(key(22), inputs, at, { samples: count });
    const { mean, covariance } = posterior.predictJoint(inputs, at);
    const [drawn, middle, expected] = numbers([outputs, mean, covariance]) as [number[], number[], number[]];
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = 0;
        for (let s = 0; s < count; s++) {
          const [a, b] = [drawn[4 * s + i] as number, drawn[4 * s + j] as number];
          sum += (a - (middle[i] as number)) * (b - (middle[j] as number));
        }
        const [own, left, right] = [expected[4 * i + j], expected[5 * i], expected[5 * j]] as [number, number, number];
        expect(Math.abs(sum / count - own)).toBeLessThan(5.5 * Math.sqrt((left * right + own ** 2) / count));
      }
    }
  });

  it("of a narrow posterior give the network's outputs whichever model they are put into", () => {
    const posterior = laplace(regression, params, data, { structure: "diagonal" });
    const narrow = { logPriorPrecision: scalar(2 * Math.log(1e4)) };
    const [linear, network] = (["linearized", "network"] as const).map((model) =>
      posterior.sampleOutputs(key(23), data.inputs, narrow, { samples: 4, model }),
    ) as [Tensor, Tensor];
    // Deviations of 1e-4: what the linearised model leaves out is of their square.
    const [a, b, mean] = numbers([linear, network, regression.model(params, data.inputs)]) as number[][];
    expect(distance(a as number[], b as number[])).toBeLessThan(1e-6 * norm(b as number[]));
    expect(distance((a as number[]).slice(0, 10), mean as number[])).toBeGreaterThan(1e-5);
  });
});

describe("√δ on each factor", () => {
  const factors = kroneckerCurvature({ ...regression, reduction: "sum" }, params, data, { fisher: "type2" }).evaluate(
    params,
    data,
  ).factors as Readonly<Record<string, MatrixFactors>>;
  const noise = at.logNoise as Tensor;

  /** √s of a factor + √δ I. */
  const raised = (factor: Tensor, logDelta: Tensor): Tensor =>
    factor.mul(noise.neg().exp()).add(eye(factor.shape[0] as number).mul(logDelta.mul(0.5).exp()));
  const product = (b: Tensor, a: Tensor): Tensor => {
    const [m, n] = [b.shape[0] as number, a.shape[0] as number];
    return b
      .reshape([m, 1, m, 1])
      .mul(a.reshape([1, n, 1, n]))
      .reshape([m * n, m * n]);
  };
  /** P of a layer's weight with the inputs that it has in its block, and log δ. */
  const dense = (name: string, inputs: number, logDelta: Tensor): Tensor => {
    const { a, b } = factors[name] as MatrixFactors;
    return product(raised(b, logDelta), raised(a.slice([0, 0], [inputs, inputs]), logDelta));
  };
  const diagonal = (matrix: Tensor): Tensor => matrix.mul(eye(matrix.shape[0] as number)).sum({ axis: 1 });
  const logDelta = (index: number) => at.logPriorPrecision.slice([index], [index + 1]).reshape([]);
  const ratio = (matrix: Tensor, log: Tensor): Tensor =>
    linalg.logDeterminant(matrix).sub(log.mul(matrix.shape[0] as number));

  it("is the prior of the evidence and of variances, and stands on a bias apart as ever", () => {
    const posterior = laplace(regression, params, data, { dampingRule: "sqrtBoth", parameters: ["V", "c"] });
    const weight = dense("V", 3, logDelta(4));
    const bias = (factors.V as MatrixFactors).b.mul(noise.mul(-2).exp()).add(eye(2).mul(logDelta(5).exp()));
    expectSame(posterior.evidence(at).logDeterminantRatio, ratio(weight, logDelta(4)).add(ratio(bias, logDelta(5))));
    const variances = posterior.variances(at);
    expectSame((variances.V as Tensor).flatten(), diagonal(linalg.inversePositiveDefinite(weight)));
    expectSame(variances.c as Tensor, diagonal(linalg.inversePositiveDefinite(bias)));
  });

  it("has a joint bias as one more input", () => {
    const options = { dampingRule: "sqrtBoth", bias: "joint", parameters: ["W", "b"] } as const;
    const posterior = laplace(regression, params, data, options);
    const matrix = dense("W", 3, logDelta(0));
    expectSame(posterior.evidence(at).logDeterminantRatio, ratio(matrix, logDelta(0)));
    const { W, b } = posterior.variances(at);
    const rows = concat([(W as Tensor).reshape([3, 2]), (b as Tensor).reshape([3, 1])], { axis: 1 });
    expectSame(rows.flatten(), diagonal(linalg.inversePositiveDefinite(matrix)));
  });

  it("says how much the data determine by the slope of the log determinant", () => {
    const posterior = laplace(regression, params, data, { dampingRule: "sqrtBoth" });
    const slope = grad((log: Tensor) => posterior.evidence({ ...at, logPriorPrecision: log }).logDeterminantRatio);
    // ∂ (log det P - Σ log δ) / ∂ log δ = -γ.
    expectSame(posterior.effectiveParametersByTensor(at), slope(at.logPriorPrecision).neg());
  });

  it("makes the precision larger, and is refused where there are no factors", () => {
    const [damped, plain] = (["sqrtBoth", "exactKronecker"] as const).map((dampingRule) =>
      one(laplace(regression, params, data, { dampingRule }).evidence(at).logEvidence),
    ) as [number, number];
    expect(damped).toBeLessThan(plain);
    expect(() => laplace(regression, params, data, { structure: "full", dampingRule: "sqrtBoth" })).toThrow(
      /full structure has no factors for dampingRule sqrtBoth/,
    );
  });
});

describe("some parameters only", () => {
  const dense = toDense(ggnOperator({ ...regression, reduction: "sum" }, params, data));
  const start = { W: 0, b: 6, scale: 9, shift: 12, V: 15, c: 21 } as const;
  const chosen = { W: [1, 4], V: [0, 5, 2] };
  const places = [start.W + 1, start.W + 4, start.V + 0, start.V + 5, start.V + 2];

  it("single elements have the rows and columns of the full matrix", () => {
    const posterior = laplace(regression, params, data, { structure: "full", parameters: chosen });
    const [h] = numbers([dense]) as [number[]];
    const own = { logPriorPrecision: tensor([0.3, 9, 9, 9, -0.4, 9]) };
    const block = Float32Array.from(places.flatMap((i) => places.map((j) => h[i * 23 + j] as number)));
    const prior = tensor([0.3, 0.3, -0.4, -0.4, -0.4]).exp();
    const covariance = inverse5(tensor(block, { shape: [5, 5] }), prior);
    const [variances] = numbers([posterior.variances(own)]).map(() => numbers(posterior.variances(own)));
    const flat = (variances as number[][]).flat();
    // The block went through f32, and the condition is below 1e3.
    expect(
      distance(
        places.map((place) => flat[place] as number),
        covariance,
      ),
    ).toBeLessThan(1e-4 * norm(covariance));
    expect(flat.filter((value) => value !== 0)).toHaveLength(5);
  });

  it("fixed parameters are not drawn", () => {
    const posterior = laplace(regression, params, data, { structure: "diagonal", parameters: { W: [1], c: [0, 1] } });
    const drawn = posterior.sample(key(1), at);
    const changed = Object.keys(params).map((name) => {
      const [a, b] = numbers([drawn[name], params[name]]) as [number[], number[]];
      return a.map((value, index) => value !== b[index]);
    });
    expect(changed[0]).toEqual([false, true, false, false, false, false]);
    expect(changed.slice(1, 5).flat()).not.toContain(true);
    expect(changed[5]).toEqual([true, true]);
  });

  it("what does not exist is named", () => {
    const of = (options: LaplaceOptions) => () => laplace(regression, params, data, options);
    expect(of({ parameters: ["scal"] })).toThrow(/no parameter "scal". Did you mean "scale"/);
    expect(of({ parameters: [] })).toThrow(/no parameter is uncertain/);
    expect(of({ parameters: { W: [6] }, structure: "full" })).toThrow(/position 6 of "W"/);
    expect(of({ parameters: { W: [1, 1] }, structure: "full" })).toThrow(/some twice/);
    expect(of({ parameters: { W: [1] } })).toThrow(/single elements have no Kronecker products/);
    expect(of({ temperature: 0 })).toThrow(/temperature 0/);
    expect(of({ examples: 3 })).toThrow(/3 examples, but the batches hold 5/);
    expect(() => laplace(regression, params, [])).toThrow(/no batch/);
  });
});

/** The diagonal of (H + D)⁻¹ by Gauss-Jordan elimination. */
function inverse5(h: Tensor, delta: Tensor): number[] {
  const [values, prior] = numbers([h, delta]) as [number[], number[]];
  const n = prior.length;
  const rows = prior.map((own, i) => [
    ...values.slice(i * n, (i + 1) * n).map((value, j) => value + (i === j ? own : 0)),
    ...prior.map((_, j) => Number(i === j)),
  ]);
  return eliminate(rows).map((row, i) => row[n + i] as number);
}

function eliminate(rows: number[][]): number[][] {
  rows.forEach((row, i) => {
    const pivot = row[i] as number;
    row.forEach((value, j) => {
      row[j] = value / pivot;
    });
    for (const other of rows) {
      if (other === row) continue;
      const factor = other[i] as number;
      row.forEach((value, j) => {
        other[j] = (other[j] as number) - factor * value;
      });
    }
  });
  return rows;
}

describe("batches", () => {
  const halves = [0, 2].map((from) => ({
    inputs: data.inputs.slice([from, 0], [from === 0 ? 2 : 5, 2]),
    targets: data.targets.slice([from, 0], [from === 0 ? 2 : 5, 2]),
  }));

  it.each(structures)("together are what all the data are at once: %s", (structure) => {
    const [parts, whole] = [halves, data].map((batches) => laplace(regression, params, batches, { structure }));
    const own = { ...at };
    if (structure !== "kronecker") {
      expectSame(
        (parts as NonNullable<typeof parts>).evidence(own).logEvidence,
        whole?.evidence(own).logEvidence as Tensor,
      );
      return;
    }
    // Products of averages are not averages of products; A and B themselves are.
    const fit = laplaceFit(regression, params, data, { structure });
    const sums = fit.combine(halves.map((half) => fit.sums(params, half)));
    const all = fit.sums(params, data);
    const [a, b] = [numbers(sums.curvature), numbers(all.curvature)];
    a.forEach((values, index) => expect(distance(values, b[index] as number[])).toBeLessThan(1e-9 * norm(values)));
  });

  it("of a part count as often as they stand for others, with a warning", () => {
    const posterior = laplace(regression, params, halves[0] as typeof data, { structure: "full", examples: 4 });
    const twice = laplace(regression, params, [halves[0], halves[0]] as (typeof data)[], { structure: "full" });
    expectSame(posterior.evidence(at).logEvidence, twice.evidence(at).logEvidence);
    expect(posterior.warnings).toEqual([expect.stringMatching(/2 of 4 examples: .* evidence too large/)]);
    expect(posterior.describe()).toMatch(/2 of 4 examples/);
    expect(twice.warnings).toEqual([]);
  });

  it("at temperature 2 count twice", () => {
    const warm = laplace(regression, params, data, { temperature: 2 });
    const twice = laplace(regression, params, [data, data]);
    expectSame(warm.evidence(at).logEvidence, twice.evidence(at).logEvidence);
    expectSame(warm.predict(data.inputs, at).covariance, twice.predict(data.inputs, at).covariance);
  });

  it("says what is kept, before anything is computed", () => {
    const report = laplace(regression, params, data, { parameters: ["V", "c"] }).describe();
    expect(report).toMatch(/kronecker, over 8 parameters in 2 tensors; 4 tensors are fixed; keeps \d+ bytes/);
    expect(report).toMatch(/V \+ c: Kronecker/);
  });
});

describe("joint blocks", () => {
  const joint = { structure: "kronecker", bias: "joint" } as const;
  const whole = laplace(regression, params, data, joint);
  const layers = [
    ["W", "b"],
    ["scale", "shift"],
    ["V", "c"],
  ];

  it("have a δ for each layer, that of its weight", () => {
    // Blocks know nothing of each other: the determinants of layers alone add up. Scale and shift have one each.
    const logs = [0.3, -9, 0.5, 0.5, -0.4, 9];
    const own = { logPriorPrecision: tensor(logs) };
    const alone = layers.map((parameters, index) => {
      const posterior = laplace(regression, params, data, { ...joint, parameters });
      return posterior.evidence({ logPriorPrecision: scalar(logs[2 * index] as number) }).logDeterminantRatio;
    });
    const sum = alone.reduce((one, other) => one.add(other));
    expectSame(whole.evidence(own).logDeterminantRatio, sum, 1e-7);
    const scatter = Object.values(params).map((leaf, index) =>
      leaf
        .square()
        .sum()
        .mul(Math.exp(logs[2 * Math.floor(index / 2)] as number)),
    );
    expectSame(
      whole.evidence(own).scatter,
      scatter.reduce((one, other) => one.add(other)),
      1e-7,
    );
    const slopes = grad((each: LaplaceHyperparameters) => whole.evidence(each).logEvidence)(own);
    const [values] = numbers([slopes.logPriorPrecision]) as [number[]];
    expect(values.map((value) => value === 0)).toEqual([false, true, false, false, false, true]);
  });

  it("say which tensors they join", () => {
    expect(whole.joint).toEqual([
      { weight: 0, bias: 1 },
      { weight: 4, bias: 5 },
    ]);
    const fit = laplaceFit(regression, params, data, joint);
    const tied = fit.tie({ logPriorPrecision: tensor([1, 2, 3, 4, 5, 6]) });
    expect(numbers([tied.logPriorPrecision])).toEqual([[1, 1, 3, 4, 5, 5]]);
  });
});

describe("ignored targets", () => {
  const model = (p: Params, x: Tensor): Tensor => x.dot(p.V as Tensor, { contract: [[x.rank - 1], [1]] }).tanh();
  const problem: CurvatureProblem<Params> = { loss: crossEntropy, model };
  const own = { V: params.V as Tensor };
  const tokens = random(31, [2, 3, 3]);
  const padded = { inputs: tokens, targets: tensor(Int32Array.from([0, 1, -1, 1, -1, -1]), { shape: [2, 3] }) };
  // The terms that have a target, as examples of one term each.
  const rows = tokens.reshape([6, 3]).gather(tensor(Int32Array.from([0, 1, 3])), { axis: 0 });
  const kept = { inputs: rows, targets: tensor(Int32Array.from([0, 1, 1])) };
  const prior = { logPriorPrecision: scalar(0.2) };

  it.each(structures)("are as if they were not there: %s", (structure) => {
    const posterior = laplace(problem, own, padded, { structure, ignoreIndex: -1 });
    const expected = laplace(problem, own, kept, { structure });
    expectSame(posterior.evidence(prior).logEvidence, expected.evidence(prior).logEvidence);
    expectSame(posterior.predict(tokens, prior).mean, model(own, tokens).reshape([2, 6]));
  });

  it("may be a class, such as 0 for padding", () => {
    const shifted = { inputs: tokens, targets: tensor(Int32Array.from([1, 1, 0, 1, 0, 0]), { shape: [2, 3] }) };
    const ones = { inputs: rows, targets: tensor(Int32Array.from([1, 1, 1])) };
    expectSame(
      laplace(problem, own, shifted, { ignoreIndex: 0 }).evidence(prior).logEvidence,
      laplace(problem, own, ones).evidence(prior).logEvidence,
    );
  });

  it("are refused where they mean nothing", () => {
    expect(() => laplace(problem, own, kept, { ignoreIndex: -1 })).toThrow(/one loss term/);
    const vectors = { inputs: tokens, targets: random(1, [2, 3, 2]) };
    expect(() => laplace({ ...problem, loss: squaredError }, own, vectors, { ignoreIndex: -1 })).toThrow(
      /targets of squaredError are vectors/,
    );
  });
});

describe("predictive distributions", () => {
  const mean = tensor([0.5, -1, 2, 0, 0.3, -0.2], { shape: [2, 3] });
  const root = random(41, [2, 3, 3]).mul(0.4);
  const covariance = root.matmul(root.transpose());

  it("the Laplace bridge is the Dirichlet distribution of Hobbhahn et al., equation 8, for logits that sum to 0", () => {
    const [mu, sigma, alpha] = numbers([mean, covariance, laplaceBridge(mean, covariance)]) as [
      number[],
      number[],
      number[],
    ];
    for (const n of [0, 1]) {
      const at = (i: number, j: number): number => sigma[9 * n + 3 * i + j] as number;
      const row = [0, 1, 2].map((i) => at(i, 0) + at(i, 1) + at(i, 2));
      const all = row.reduce((sum, value) => sum + value);
      const own = mu.slice(3 * n, 3 * n + 3);
      const total = own.reduce((sum, value) => sum + value);
      const logits = own.map((value, i) => value - ((row[i] as number) * total) / all);
      expect(logits.reduce((sum, value) => sum + value)).toBeCloseTo(0, 9);
      const negative = logits.reduce((sum, value) => sum + Math.exp(-value), 0);
      logits.forEach((value, i) => {
        const variance = at(i, i) - (row[i] as number) ** 2 / all;
        const expected = (1 - 2 / 3 + (Math.exp(value) / 9) * negative) / variance;
        expect((alpha[3 * n + i] as number) / expected).toBeCloseTo(1, 9);
      });
    }
  });

  it("the bridge leads back from the normal distribution of a Dirichlet distribution to its concentrations", () => {
    const alpha = [0.7, 2, 5.5, 1.2];
    const size = alpha.length;
    const inverse = alpha.reduce((sum, own) => sum + 1 / own, 0);
    const middle = alpha.reduce((sum, own) => sum + Math.log(own), 0) / size;
    const mu = tensor(
      alpha.map((own) => Math.log(own) - middle),
      { shape: [1, size] },
    );
    const sigma = alpha.flatMap((a, k) =>
      alpha.map((b, l) => (k === l ? 1 / a : 0) - (1 / a + 1 / b - inverse / size) / size),
    );
    const [own] = numbers([laplaceBridge(mu, tensor(sigma, { shape: [1, size, size] }))]) as [number[]];
    // Mean and covariance are rounded to f32.
    expect(distance(own, alpha)).toBeLessThan(1e-5 * norm(alpha));
  });

  it("probit is close to the mean over samples, which one logit alone is not", () => {
    const [logit, deviation] = [1.5, 2];
    const draws = random(42, [20_000, 1, 1]).mul(deviation).add(logit);
    const own = tensor([logit, 0], { shape: [1, 2] });
    const [a, b, plain] = numbers([
      probit(own, tensor([deviation ** 2, 0], { shape: [1, 2] })),
      meanProbabilities(
        draws.pad([
          [0, 0],
          [0, 0],
          [0, 1],
        ]),
      ),
      meanProbabilities(own.expandDims(0)),
    ]) as [number[], number[], number[]];
    // The approximation of an expected sigmoid is good to 0.02, draws of this number to 0.01.
    expect(Math.abs((a[0] as number) - (b[0] as number))).toBeLessThan(0.03);
    expect(Math.abs((plain[0] as number) - (b[0] as number))).toBeGreaterThan(0.06);
  });

  it("probit takes variances alone too", () => {
    const variances = tensor(
      numbers([covariance]).flatMap((v) => [0, 4, 8, 9, 13, 17].map((i) => v[i] as number)),
      {
        shape: [2, 3],
      },
    );
    expectSame(probit(mean, variances), probit(mean, covariance), 1e-6);
  });

  it("logits that are known exactly have finite concentrations", () => {
    const [alpha] = numbers([laplaceBridge(mean, covariance.mul(0))]) as [number[]];
    expect(alpha.every(Number.isFinite)).toBe(true);
  });
});

describe("linear regression is conjugate", () => {
  // y = 1 - 2x + 0.5x² + noise of 0.3, and polynomials of each degree.
  const count = 24;
  const sigma = 0.3;
  const [noise] = numbers([random(51, [count])]) as [number[]];
  const xs = Array.from({ length: count }, (_, n) => -2 + (4 * n) / (count - 1));
  const ys = xs.map((x, n) => 1 - 2 * x + 0.5 * x ** 2 + sigma * (noise[n] as number));
  const features = (x: number, degree: number): number[] => Array.from({ length: degree + 1 }, (_, k) => x ** k);
  const delta = 0.7;
  const hyperparameters = { logPriorPrecision: scalar(Math.log(delta)), logNoise: scalar(Math.log(sigma)) };

  /** The posterior N(m, S) in closed form, in float64. */
  function closedForm(degree: number): { mean: number[]; covariance: number[][] } {
    const phi = xs.map((x) => features(x, degree));
    const size = degree + 1;
    const range = Array.from({ length: size }, (_, i) => i);
    const rows = range.map((i) => [
      ...range.map(
        (j) =>
          phi.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), 0) / sigma ** 2 +
          (i === j ? delta : 0),
      ),
      ...range.map((j) => Number(i === j)),
    ]);
    const covariance = eliminate(rows).map((row) => row.slice(size));
    const moments = range.map(
      (i) => phi.reduce((sum, row, n) => sum + (row[i] as number) * (ys[n] as number), 0) / sigma ** 2,
    );
    const mean = covariance.map((row) => row.reduce((sum, value, j) => sum + value * (moments[j] as number), 0));
    return { mean, covariance };
  }

  /** log N(y; 0, σ² I + Φ Φᵀ / δ), by elimination on the N × N matrix: nothing of the posterior is in it. */
  function exactEvidence(degree: number): number {
    const phi = xs.map((x) => features(x, degree));
    const rows = phi.map((left, n) => [
      ...phi.map(
        (right, m) =>
          left.reduce((sum, value, k) => sum + value * (right[k] as number), 0) / delta + (n === m ? sigma ** 2 : 0),
      ),
      ys[n] as number,
    ]);
    let logDeterminant = 0;
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number[];
      logDeterminant += Math.log(row[i] as number);
      for (const other of rows.slice(i + 1)) {
        const factor = (other[i] as number) / (row[i] as number);
        row.forEach((value, j) => {
          other[j] = (other[j] as number) - factor * value;
        });
      }
    }
    // yᵀ K⁻¹ y is the sum of the squares of the eliminated right side over the pivots.
    const squares = rows.reduce((sum, row, i) => sum + (row[count] as number) ** 2 / (row[i] as number), 0);
    return -0.5 * (squares + logDeterminant + count * Math.log(2 * Math.PI));
  }

  const column = (values: readonly number[]): Tensor =>
    tensor(Float32Array.from(values), { shape: [values.length, 1] });
  const problemOf = (degree: number): CurvatureProblem<{ w: Tensor }> => ({
    loss: squaredError,
    model: (p, x) => {
      const powers = Array.from({ length: degree + 1 }, (_, k) =>
        Array.from({ length: k }).reduce<Tensor>((value) => value.mul(x), x.onesLike()),
      );
      return powers.map((power, k) => power.mul(p.w.slice([k], [k + 1]))).reduce((sum, term) => sum.add(term));
    },
  });
  const batch = { inputs: column(xs), targets: column(ys) };
  const posteriorOf = (degree: number, structure: LaplaceStructure) =>
    laplace(problemOf(degree), { w: tensor(closedForm(degree).mean) }, batch, { structure });

  it.each(["full", "functional"] as const)("evidence and prediction of the %s posterior are exact", (structure) => {
    for (const degree of [0, 1, 2, 3]) {
      const posterior = posteriorOf(degree, structure);
      // Data and mean are rounded to f32; the mean is a maximum, so that its rounding counts in second order only.
      expect(one(posterior.evidence(hyperparameters).logEvidence) / exactEvidence(degree)).toBeCloseTo(1, 5);
      const { mean, covariance } = closedForm(degree);
      const x = 0.37;
      const phi = features(x, degree);
      const variance = phi.reduce(
        (sum, value, i) => sum + value * phi.reduce((own, other, j) => own + (covariance[i]?.[j] as number) * other, 0),
        0,
      );
      const predicted = posterior.predict(column([x]), hyperparameters);
      expect(one(predicted.covariance) / variance).toBeCloseTo(1, 5);
      expect(one(predicted.mean)).toBeCloseTo(
        phi.reduce((sum, value, k) => sum + value * (mean[k] as number), 0),
        5,
      );
      const y = 0.8;
      const total = variance + sigma ** 2;
      const density = -0.5 * ((y - one(predicted.mean)) ** 2 / total + Math.log(2 * Math.PI * total));
      const point = { inputs: column([x]), targets: column([y]) };
      expect(one(logPredictiveDensity(posterior, point, hyperparameters))).toBeCloseTo(density, 5);
    }
  });

  it("the evidence prefers the degree that made the data", () => {
    const evidences = [0, 1, 2, 3, 4, 5].map((degree) =>
      one(posteriorOf(degree, "full").evidence(hyperparameters).logEvidence),
    );
    expect(evidences.indexOf(Math.max(...evidences))).toBe(2);
  });
});

describe("what can go wrong", () => {
  const prior = { logPriorPrecision: scalar(0.4) };

  it("a parameter that the loss ignores has its prior for posterior", () => {
    const withIgnored: Params = { ...params, ignored: random(71, [3]) };
    for (const structure of structures) {
      const posterior = laplace(regression, withIgnored, data, { structure });
      const plain = laplace(regression, params, data, { structure });
      const { ignored } = posterior.variances(prior);
      expectSame(ignored as Tensor, scalar(Math.exp(-0.4)).expand([3]), 1e-6);
      const [gammas] = numbers([posterior.effectiveParametersByTensor(prior)]) as [number[]];
      expect(gammas.at(-1)).toBe(0);
      expectSame(posterior.evidence(prior).logDeterminantRatio, plain.evidence(prior).logDeterminantRatio);
    }
  });

  it("one example, and no gradient at all, leave finite numbers", () => {
    const single = { inputs: random(72, [1, 2]), targets: random(73, [1, 2]) };
    const dead: CurvatureProblem<Params> = { ...regression, model: (p, x) => regression.model(p, x).mul(scalar(0)) };
    for (const structure of structures) {
      const posterior = laplace(regression, params, single, { structure });
      const gamma = one(posterior.effectiveParameters(prior));
      // Two outputs determine two directions at most; blocks and diagonals may count some of them again.
      expect(gamma).toBeGreaterThan(0);
      if (structure === "full" || structure === "functional") expect(gamma).toBeLessThan(2);
      const slopes = numbers(
        grad((own: LaplaceHyperparameters) => posterior.evidence(own).logEvidence)({ logPriorPrecision: scalar(0.4) }),
      );
      expect(slopes.flat().every(Number.isFinite)).toBe(true);
      const none = laplace(dead, params, single, { structure });
      expect(one(none.effectiveParameters(prior))).toBe(0);
      // Every number is rounded once, at most.
      expect(Math.abs(one(none.evidence(prior).logDeterminantRatio))).toBeLessThan(1e-15 + 1e-30);
      const flat = numbers(
        grad((own: LaplaceHyperparameters) => none.evidence(own).logDeterminantRatio)({
          logPriorPrecision: scalar(0.4),
        }),
      );
      expect(Math.abs(flat.flat()[0] as number)).toBeLessThan(1e-15);
    }
  });

  it("the Jacobian's covariance is that of the outputs: J P⁻¹ Jᵀ", () => {
    const inputs = random(75, [2, 2]);
    const jacobian = toDense(jacobianOperator(regression, params, inputs));
    const expected = jacobian.matmul(covarianceOf("full", at)).matmul(jacobian.transpose());
    const { covariance } = laplace(regression, params, data, { structure: "full" }).predictJoint(inputs, at);
    expectSame(covariance.reshape([4, 4]), expected);
  });
});
