import { valueAndGrad } from "@thalweg/autograd";
import { compile, conv, init, key, type Tensor, tensor, treeMap } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type Batch,
  type CurvatureProblem,
  crossEntropy,
  type Draws,
  type Evaluation,
  type FisherKind,
  type Flavour,
  type Inverses,
  invertFactors,
  type KroneckerOptions,
  kroneckerCurvature,
  type MatrixFactors,
  problemLoss,
  squaredError,
} from "../src/index";
import { deviceNumbers, distance, norm, numbers, type Params, random } from "./numbers";

/** Words of texts, and how many of them are real. (A type, so that it counts as a tree.) */
type Texts = { readonly words: Tensor; readonly length: Tensor };

beforeAll(async () => void (await init()));

const at = (p: Params, name: string): Tensor => p[name] as Tensor;
const integers = (shape: readonly number[], below: number): Tensor => {
  const count = shape.reduce((product, extent) => product * extent, 1);
  return tensor(
    Int32Array.from({ length: count }, (_, index) => (5 * index + 1) % below),
    { shape: [...shape] },
  );
};

/** Examples of the batches, and how many of them are measured. */
const [size, few] = [6, 2] as const;
const draws = 3;

const firstOnes = <T extends object>(tree: T): T => treeMap((x: Tensor) => x.slice([0], [few]), tree as never) as T;

interface Case<X> {
  readonly problem: CurvatureProblem<Params, X>;
  readonly params: Params;
  readonly batch: Batch<X>;
  /** Targets as if they were drawn, `[draws, N, …]`. */
  readonly drawn: Tensor;
  readonly mask?: (example: X) => Tensor;
}

/** One loss term; a convolution with padding, scale and shift, and a parameter by itself. */
const images = (): Case<Tensor> => ({
  problem: {
    loss: crossEntropy,
    model(p, x) {
      const seen = conv(x, at(p, "layer"), { padding: "same" })
        .tanh()
        .mean({ axis: [1, 2] });
      const scaled = seen.mul(at(p, "scale")).add(at(p, "shift"));
      return scaled.dot(at(p, "head")).add(at(p, "bias")).mul(at(p, "factor").exp());
    },
  },
  params: {
    layer: random(1, [3, 3, 1, 4]),
    scale: random(2, [4]),
    shift: random(3, [4]),
    head: random(4, [4, 3]),
    bias: random(5, [3]),
    factor: random(6, [3]),
  },
  batch: { inputs: random(7, [size, 5, 4, 1]), targets: integers([size], 3) },
  drawn: integers([draws, size, 1], 3),
});

/** A loss term for each of four words, which see each other; those behind the end of a text are masked. */
const texts = (): Case<Texts> => ({
  problem: {
    loss: squaredError,
    model(p, { words, length }) {
      const isReal = words.iotaLike(1).less(length.expandDims(1).expand(words.shape)).cast("f32").expandDims(2);
      const known = at(p, "table").gather(words, { axis: 0 });
      const seen = known.add(known.mul(isReal).mean({ axis: 1, keepDims: true }));
      const mixed = seen.dot(at(p, "layer"), { contract: [[2], [0]] }).add(at(p, "bias"));
      return mixed
        .tanh()
        .dot(at(p, "head"), { contract: [[2], [0]] })
        .mul(isReal);
    },
  },
  params: { table: random(11, [7, 3]), layer: random(12, [3, 4]), bias: random(13, [4]), head: random(14, [4, 2]) },
  batch: {
    inputs: { words: integers([size, 4], 7), length: tensor(Int32Array.from([2, 4, 1, 3, 4, 2])) },
    targets: random(15, [size, 4, 2]),
  },
  drawn: random(16, [draws, size, 4, 2]),
  mask: ({ words, length }) => words.iotaLike(0).less(length.expand(words.shape)),
});

/** All that is made of vectors, for given eigenbases. */
const measured = (evaluation: Evaluation<Params>, bases: Inverses) => [
  evaluation.factors,
  evaluation.correct(bases),
  evaluation.closest(evaluation.factors, { rounds: 2 }),
  evaluation.exactBlock("layer"),
];

/** What is measured on the first examples of a batch, and on a batch of nothing else. */
function partAndAlone<X>({ problem, params, batch, drawn, mask }: Case<X>, given: KroneckerOptions<X>, draw?: Draws) {
  const options = { draws, ...(mask && { mask }), ...given };
  const less = firstOnes(batch);
  const [ofAll, ofLess] = draw ? [draw, draw] : [{ targets: drawn }, { targets: drawn.slice([0, 0], [draws, few]) }];
  const part = kroneckerCurvature(problem, params, batch, { ...options, examples: few }).evaluate(params, batch, ofAll);
  const alone = kroneckerCurvature(problem, params, less, options).evaluate(params, less, ofLess);
  const bases = invertFactors(alone.blocks, alone.factors, tensor([0.1]).reshape([]), "exactKronecker");
  return [measured(part, bases), measured(alone, bases)] as const;
}

function expectClose(actual: readonly number[][], expected: readonly number[][], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((own, index) => {
    const other = expected[index] as number[];
    expect(distance(own, other)).toBeLessThanOrEqual(tolerance * norm(other));
  });
}

const cases: Readonly<Record<string, () => Case<unknown>>> = {
  "images with one loss term": images as () => Case<unknown>,
  "texts with a loss term for each word, some masked": texts as () => Case<unknown>,
};

const fishers: readonly FisherKind[] = ["type2", "type2Together", "mc", "empirical", "propagation", "forward"];

describe.each(Object.keys(cases))("the first examples of a batch, %s", (name) => {
  const make = cases[name] as () => Case<unknown>;

  it.each(fishers)("measure what a batch of them measures: %s", (fisher) => {
    for (const flavour of ["expand", "reduce"] as const) {
      const [part, alone] = partAndAlone(make(), { flavour, fisher }, { key: key(21) });
      expectClose(numbers(part), numbers(alone), 1e-12);
    }
  });

  it("take their own of the targets that were drawn before", () => {
    const [part, alone] = partAndAlone(make(), { fisher: "mc" });
    expectClose(numbers(part), numbers(alone), 1e-12);
  });

  it("measure the same on the device", { timeout: 120_000 }, async () => {
    for (const [fisher, flavour] of [
      ["mc", "expand"],
      ["empirical", "reduce"],
    ] as const) {
      const [[factors, , , block], [expectedFactors, , , expectedBlock]] = partAndAlone(make(), { fisher, flavour });
      const expected = numbers([expectedFactors, expectedBlock]);
      // Sums of at most a hundred products, whose order may differ.
      expectClose(await deviceNumbers([factors, block]), expected, 1e-5);
    }
  });

  it("leave loss, outputs, gradients and quadratic forms to the whole batch", () => {
    const { problem, params, batch } = make();
    const of = (examples?: number) => {
      const options = { fisher: "mc", ...(examples && { examples }) } as const;
      const evaluation = kroneckerCurvature(problem, params, batch, options).evaluate(params, batch, { key: key(1) });
      const { loss, outputs, gradients } = evaluation;
      return numbers([loss, outputs, gradients, evaluation.forms([params])]);
    };
    expect(of(few)).toEqual(of());
  });

  it("are all where the batch has no more", () => {
    const { problem, params, batch } = make();
    const of = (examples?: number) => {
      const curvature = kroneckerCurvature(problem, params, batch, { fisher: "mc", ...(examples && { examples }) });
      return numbers(curvature.evaluate(params, batch, { key: key(1) }).factors);
    };
    expect(of(size + 1)).toEqual(of());
    expect(of(few)).not.toEqual(of());
  });
});

describe("a summed loss, of which the other examples see nothing", () => {
  type Switched = { readonly x: Tensor; readonly isOn: Tensor };
  const params = { w: random(31, [3, 4]), head: random(32, [4, 3]) };
  const problem: CurvatureProblem<typeof params, Switched> = {
    loss: crossEntropy,
    reduction: "sum",
    model: (p, { x, isOn }) => x.dot(p.w).tanh().dot(p.head).mul(isOn.expandDims(1)),
  };
  const isOn = tensor(Float32Array.from({ length: size }, (_, index) => (index < few ? 1 : 0)));
  const batch = { inputs: { x: random(33, [size, 3]), isOn }, targets: integers([size], 3) };

  it.each(["mc", "propagation"] as const)("has the same draws, counted N / n times: %s", (fisher) => {
    const factorsOf = (examples: number) => {
      const curvature = kroneckerCurvature(problem, params, batch, { fisher, examples });
      return curvature.evaluate(params, batch, { key: key(34) }).factors as Readonly<Record<string, MatrixFactors>>;
    };
    const [part, whole] = [factorsOf(few), factorsOf(size)];
    for (const name of ["w", "head"]) {
      const expected = (whole[name] as MatrixFactors).b.mul(size / few);
      expectClose(numbers([part[name]?.b]), numbers([expected]), 1e-12);
    }
  });
});

describe("what a step with a quarter of the examples costs", () => {
  const examples = 32;
  const params = {
    kernel: random(41, [3, 3, 8, 8]),
    hidden: random(42, [128, 64]),
    bias: random(43, [64]),
    head: random(44, [64, 10]),
  };
  const problem: CurvatureProblem<typeof params> = {
    loss: crossEntropy,
    model(p, x) {
      const seen = conv(x, p.kernel, { padding: "same" }).relu();
      const hidden = seen.reshape([x.shape[0] as number, -1]).dot(p.hidden);
      return hidden.add(p.bias).relu().dot(p.head);
    },
  };
  const batch: Batch = { inputs: random(45, [examples, 4, 4, 8]), targets: integers([examples], 10) };

  async function work(f: (p: typeof params, own: Batch) => unknown) {
    const program = compile(f as (p: typeof params, own: Batch) => Tensor[]);
    await program.prepare(params, batch);
    const { kernels, dispatches } = program.statistics();
    program.dispose();
    return { operations: kernels.reduce((sum, { flops, runs }) => sum + flops * runs, 0), dispatches };
  }
  const stepWith = (options: KroneckerOptions) => {
    const curvature = kroneckerCurvature(problem, params, batch, options);
    return (p: typeof params, own: Batch) => {
      const { gradients, factors } = curvature.evaluate(p, own, { key: key(46) });
      return { gradients, factors };
    };
  };

  it.each([
    ["mc", "expand"],
    ["mc", "reduce"],
    ["empirical", "expand"],
  ] as const)(
    "are a quarter of the operations beside the gradient, in no more kernels: %s, %s",
    async (fisher, flavour) => {
      const plain = await work((p, own) => valueAndGrad((q: typeof params) => problemLoss(problem, q, own))(p)[1]);
      const whole = await work(stepWith({ fisher, flavour }));
      const part = await work(stepWith({ fisher, flavour, examples: examples / 4 }));
      const beside = (own: { readonly operations: number }): number => own.operations - plain.operations;
      // A quarter, and a little that does not depend on the examples: means, and the last row and column of A.
      expect(beside(part)).toBeLessThan(0.3 * beside(whole));
      expect(part.dispatches).toBeLessThanOrEqual(whole.dispatches + 1);
    },
  );
});

it("numbers of examples that are none are refused", () => {
  const { problem, params, batch } = images();
  for (const examples of [0, -1, 1.5, Number.NaN]) {
    expect(() => kroneckerCurvature(problem, params, batch, { examples })).toThrow(
      `kroneckerCurvature: ${examples} examples. Give an integer of at least 1, or nothing for the whole batch.`,
    );
  }
});

it("the report says how many examples are measured", () => {
  const { problem, params, batch } = images();
  const flavour: Flavour = "reduce";
  expect(kroneckerCurvature(problem, params, batch, { flavour, fisher: "mc", examples: 4 }).report()).toContain(
    "fisher mc of the first 4 examples of a batch\n",
  );
});
