import { logSoftmax, softmax, type Tensor, tensor } from "@thalweg/tensor";
import { elementAt, expectClose, ndarray } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import * as nn from "../src/index";
import { exact, random, randomLabels, read } from "./values";

/** Rows of logits and their log-probabilities by the definition, in float64. */
function rows(logits: Tensor): number[][] {
  const { shape, values } = read(logits);
  const classes = shape.at(-1) as number;
  return Array.from({ length: values.length / classes }, (_, row) => [
    ...values.slice(row * classes, (row + 1) * classes),
  ]);
}

const logProbabilities = (row: readonly number[]): number[] => {
  const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
  return row.map((x) => x - total);
};

const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;

const logits = random([6, 5], 1, [-4, 4]);
const labels = tensor(Int32Array.of(0, 4, 2, 2, -100, 1));
const classWeights = [0.5, 2, 1, 0.25, 3];
const weights = tensor(classWeights);

describe("softmaxCrossEntropy", () => {
  const cases = [
    { name: "integer labels", smoothing: 0, weighted: false },
    { name: "class weights", smoothing: 0, weighted: true },
    { name: "label smoothing", smoothing: 0.1, weighted: false },
    { name: "label smoothing and class weights", smoothing: 0.3, weighted: true },
  ];

  it.each(cases)("equals PyTorch's definition with $name and an ignored label", ({ smoothing, weighted }) => {
    const w = weighted ? classWeights : classWeights.map(() => 1);
    const given = read(labels).values;
    const expected = rows(logits).map((row, n) => {
      const y = given[n] as number;
      if (y === -100) return 0;
      const l = logProbabilities(row);
      const even = l.reduce((sum, value, c) => sum + (w[c] as number) * value, 0);
      return -(1 - smoothing) * (w[y] as number) * (l[y] as number) - (smoothing / l.length) * even;
    });
    const options = { labelSmoothing: smoothing, ignoredLabel: -100, ...(weighted && { weights }) };
    const losses = nn.softmaxCrossEntropy(logits, labels, options);
    expectClose(read(losses), expected, exact);
    const total = [...given].reduce((sum, y) => sum + (y === -100 ? 0 : (w[y] as number)), 0);
    const reduced = nn.meanOverLabels(losses, labels, options);
    expectClose(read(reduced), [expected.reduce((sum, x) => sum + x, 0) / total], exact);
  });

  it.each([0, 0.2])("takes distributions (smoothing %d)", (labelSmoothing) => {
    const targets = softmax(random([6, 5], 2));
    const t = rows(targets);
    const expected = rows(logits).map((row, n) =>
      logProbabilities(row).reduce((sum, l, c) => {
        const smooth = (1 - labelSmoothing) * (t[n]?.[c] as number) + labelSmoothing / row.length;
        return sum - (classWeights[c] as number) * smooth * l;
      }, 0),
    );
    expectClose(read(nn.softmaxCrossEntropy(logits, targets, { labelSmoothing, weights })), expected, exact);
  });

  it("keeps leading axes: one loss per label", () => {
    const sequence = random([2, 3, 4], 3);
    const next = randomLabels([2, 3], 4, 4);
    const losses = nn.softmaxCrossEntropy(sequence, next);
    expect(losses.shape).toEqual([2, 3]);
    const flat = nn.softmaxCrossEntropy(sequence.reshape([6, 4]), next.reshape([6]));
    expectClose(read(losses).values, read(flat).values, exact);
  });

  it("stays finite for huge logits", () => {
    const losses = nn.softmaxCrossEntropy(
      tensor([
        [1e30, -1e30],
        [1000, 0],
      ]),
      tensor(Int32Array.of(0, 1)),
    );
    expectClose(read(losses), [0, 1000], exact);
  });

  it("explains what does not fit", () => {
    const ints = tensor(Int32Array.of(1, 2));
    expect(() => nn.softmaxCrossEntropy(logits, ints)).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: softmaxCrossEntropy: labels [2] do not fit logits [6, 5]. Logits are […, classes], integer labels […], distributions […, classes].]`,
    );
    expect(() => nn.softmaxCrossEntropy(logits, random([6, 4], 1))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: softmaxCrossEntropy: predictions [6, 5] and targets [6, 4] differ. Give one target per prediction; reshape or expand one of them.]`,
    );
    expect(() =>
      nn.softmaxCrossEntropy(logits, labels, { weights: tensor([1, 2]) }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: softmaxCrossEntropy: weights [2] do not fit logits [6, 5]. Give one weight per class, [5].]`,
    );
    expect(() => nn.softmaxCrossEntropy(logits, labels, { labelSmoothing: 2 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: softmaxCrossEntropy: labelSmoothing 2 is outside of [0, 1].]`,
    );
  });
});

describe("nll", () => {
  it("is softmaxCrossEntropy after logSoftmax", () => {
    const options = { weights, ignoredLabel: -100 };
    expectClose(
      read(nn.nll(logSoftmax(logits), labels, options)),
      read(nn.softmaxCrossEntropy(logits, labels, options)),
      exact,
    );
  });
});

describe("accuracy", () => {
  it("is 1 where the largest logit is the label's", () => {
    const scores = tensor([
      [1, 3, 2],
      [5, 4, 4],
      [0, 0, 1],
    ]);
    expect([...read(nn.accuracy(scores, tensor(Int32Array.of(1, 1, 2)))).values]).toEqual([1, 0, 1]);
  });
});

describe("elementwise losses", () => {
  const predictions = random([4, 3, 2], 5, [-3, 3]);
  const targets = random([4, 3, 2], 6, [0, 1]);
  const sigma = (x: number) => 1 / (1 + Math.exp(-x));
  const bent = (d: number, delta: number) => (Math.abs(d) <= delta ? d ** 2 / 2 : delta * (Math.abs(d) - delta / 2));

  const cases: [string, (e: nn.ElementOptions) => Tensor, (x: number, t: number) => number][] = [
    ["meanSquaredError", (e) => nn.meanSquaredError(predictions, targets, e), (x, t) => (x - t) ** 2],
    ["l1", (e) => nn.l1(predictions, targets, e), (x, t) => Math.abs(x - t)],
    ["huber", (e) => nn.huber(predictions, targets, e), (x, t) => bent(x - t, 1)],
    ["huber with delta", (e) => nn.huber(predictions, targets, { delta: 0.3, ...e }), (x, t) => bent(x - t, 0.3)],
    ["smoothL1", (e) => nn.smoothL1(predictions, targets, { beta: 0.5, ...e }), (x, t) => bent(x - t, 0.5) / 0.5],
    ["smoothL1 with beta 0", (e) => nn.smoothL1(predictions, targets, { beta: 0, ...e }), (x, t) => Math.abs(x - t)],
    [
      "binaryCrossEntropyWithLogits",
      (e) => nn.binaryCrossEntropyWithLogits(predictions, targets, e),
      (x, t) => -t * Math.log(sigma(x)) - (1 - t) * Math.log(1 - sigma(x)),
    ],
    [
      "binaryCrossEntropyWithLogits with posWeight",
      (e) => nn.binaryCrossEntropyWithLogits(predictions, targets, { posWeight: 3, ...e }),
      (x, t) => -3 * t * Math.log(sigma(x)) - (1 - t) * Math.log(1 - sigma(x)),
    ],
  ];

  it.each(cases)("%s equals its definition, as elements, sums and means", (_name, loss, definition) => {
    const [x, t] = [read(predictions), read(targets)];
    const expected = ndarray(x.shape, "f32", (c) => definition(elementAt(x, c), elementAt(t, c)));
    expectClose(read(loss({ elements: "none" })), expected, exact);
    const perExample = Array.from({ length: 4 }, (_, n) => [...expected.values.slice(n * 6, (n + 1) * 6)]);
    expectClose(
      read(loss({ elements: "sum" })),
      perExample.map((row) => 6 * mean(row)),
      exact,
    );
    expectClose(read(loss({})), perExample.map(mean), exact);
  });

  it("takes a weight per output", () => {
    const posWeight = tensor([2, 5]);
    const each = read(nn.binaryCrossEntropyWithLogits(predictions, targets, { posWeight, elements: "none" }));
    const one = read(nn.binaryCrossEntropyWithLogits(predictions, targets, { posWeight: 5, elements: "none" }));
    expect(elementAt(each, [1, 2, 1])).toBe(elementAt(one, [1, 2, 1]));
    expect(elementAt(each, [1, 2, 0])).not.toBe(elementAt(one, [1, 2, 0]));
  });

  it("keeps the binary cross entropy of sure predictions", () => {
    const losses = nn.binaryCrossEntropyWithLogits(tensor([30, -30, 200]), tensor([1, 0, 0]));
    expectClose(read(losses), [Math.exp(-30), Math.exp(-30), 200], exact);
  });

  it("refuses to broadcast", () => {
    expect(() => nn.meanSquaredError(random([4, 1], 1), random([4], 2))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: meanSquaredError: predictions [4, 1] and targets [4] differ. Give one target per prediction; reshape or expand one of them.]`,
    );
    expect(() => nn.huber(predictions, targets, { delta: 0 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: huber: delta 0 is not above 0. Use l1 for its limit.]`,
    );
  });
});

describe("klDivergence", () => {
  const predicted = logSoftmax(logits);
  const targets = softmax(random([6, 5], 7));

  it("is Σ t (log t - l) per example", () => {
    const [l, t] = [rows(predicted), rows(targets)];
    const expected = l.map((row, n) =>
      row.reduce((sum, value, c) => sum + (t[n]?.[c] as number) * (Math.log(t[n]?.[c] as number) - value), 0),
    );
    expectClose(read(nn.klDivergence(predicted, targets)), expected, exact);
    expectClose(read(nn.klDivergence(predicted, targets.log(), { logTargets: true })), expected, exact);
  });

  it("counts nothing where the target is 0", () => {
    const losses = nn.klDivergence(tensor([[Math.log(0.25), Math.log(0.75)]]), tensor([[0, 1]]));
    expectClose(read(losses), [-Math.log(0.75)], { relative: 1e-6, absolute: 0 });
  });
});
