import type { Tensor } from "@thalweg/tensor";
import { full, treeLeaves } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { type TensorTree, updateEach } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { type DecayMask, decaysOf } from "../transforms/decay";
import { amount, coupledDecay, learningRate, off, on } from "./specs";

interface AdafactorOptions {
  readonly learningRate: number | Schedule;
  readonly relativeStep: boolean;
  readonly decayRate: number | Schedule;
  readonly minDimToFactor: number;
  readonly epsilon: number | Schedule;
  readonly minScale: number | Schedule;
  readonly clip: number | Schedule;
  readonly scaleByParameter: boolean;
  readonly beta1: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decayMask: DecayMask;
}

/** What is kept of one tensor: a moment of its shape, or means of it over either of two axes. */
type Moment = {
  readonly rows: Tensor | null;
  readonly columns: Tensor | null;
  readonly whole: Tensor | null;
  readonly first: Tensor | null;
};

/** The two largest axes, the larger one last, of equal ones the later one last; undefined if one is too small. */
function factoredAxes({ shape }: Tensor, least: number): readonly [second: number, first: number] | undefined {
  const axes = shape.map((_, axis) => axis).sort((a, b) => (shape[a] as number) - (shape[b] as number) || a - b);
  const [second, first] = [axes.at(-2), axes.at(-1)];
  if (second === undefined || first === undefined || (shape[second] as number) < least) return undefined;
  return [second, first];
}

function factored(options: AdafactorOptions): GradientTransformation {
  const owner = "adafactor";
  const { relativeStep, minDimToFactor, clip, scaleByParameter, beta1, weightDecay: decay, decayMask } = options;
  const [clips, averages, decays] = [clip !== 0, beta1 !== 0, decay !== 0];
  return transformation<Moment[]>({
    name: owner,
    constants: [
      ...(relativeStep ? [] : [constant(owner, "learningRate", options.learningRate, nonNegative)]),
      constant(owner, "decayRate", options.decayRate, positive),
      constant(owner, "epsilon", options.epsilon, nonNegative),
      ...(scaleByParameter ? [constant(owner, "minScale", options.minScale, nonNegative)] : []),
      ...(clips ? [constant(owner, "clip", clip, positive)] : []),
      ...(averages ? [decayConstant(owner, "beta1", beta1)] : []),
      ...(decays ? [constant(owner, "weightDecay", decay, nonNegative)] : []),
    ],
    init: (params: TensorTree) =>
      treeLeaves<Tensor>(params).map((x): Moment => {
        const axes = factoredAxes(x, minDimToFactor);
        const without = (axis: number) => full(x.shape.with(axis, 1), 0);
        return {
          rows: axes === undefined ? null : without(axes[1]),
          columns: axes === undefined ? null : without(axes[0]),
          whole: axes === undefined ? full(x.shape, 0) : null,
          first: averages ? full(x.shape, 0) : null,
        };
      }),
    update: (gradients, buffers, { params, step, constant: numbers }) => {
      const number = (name: string) => numbers(name)[0] as Tensor;
      const t = step.add(1).cast("f32");
      // 1 - β of a moment that averages everything at first, and less and less of it later.
      const share = t.log().mul(number("decayRate")).neg().exp();
      const kept = t.log().mul(number("decayRate")).neg().expm1().neg();
      const average = (old: Tensor, value: Tensor) => old.mul(kept).add(value.mul(share));
      const rate = relativeStep ? t.rsqrt().minimum(1e-2) : number("learningRate");
      const [eps, largest, lambda] = [
        number("epsilon"),
        clips ? number("clip") : undefined,
        decays ? number("weightDecay") : undefined,
      ];
      const mask = decays ? decaysOf(decayMask, params) : [];
      return updateEach(gradients, buffers, params, (g, moment, x, index) => {
        const square = g.square().add(eps);
        const axes = factoredAxes(x, minDimToFactor);
        let next = moment;
        let scaled: Tensor;
        if (axes === undefined) {
          next = { ...moment, whole: average(moment.whole as Tensor, square) };
          scaled = g.mul((next.whole as Tensor).rsqrt());
        } else {
          const [second, first] = axes;
          const rows = average(moment.rows as Tensor, square.mean({ axis: first, keepDims: true }));
          const columns = average(moment.columns as Tensor, square.mean({ axis: second, keepDims: true }));
          next = { ...moment, rows, columns };
          const share = rows.div(rows.mean({ axis: second, keepDims: true }));
          scaled = g.mul(share.rsqrt()).mul(columns.rsqrt());
        }
        if (largest !== undefined) scaled = scaled.div(rms(scaled).div(largest).maximum(1));
        let update = scaled.mul(scaleByParameter ? rms(x).maximum(number("minScale")).mul(rate) : rate);
        if (averages) {
          const [old, fresh] = numbers("beta1") as [Tensor, Tensor];
          update = (moment.first as Tensor).mul(old).add(update.mul(fresh));
          next = { ...next, first: update };
        }
        if (lambda !== undefined && mask[index]) update = update.add(x.mul(lambda));
        return [update.neg(), next];
      });
    },
  });
}

const rms = (x: Tensor): Tensor => x.square().mean().sqrt();

/** The record of {@link adafactor}. */
export const adafactorRecord = defineOptimizer({
  name: "adafactor",
  title: "Adafactor",
  source: "Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
  year: 2018,
  family: "layerwise",
  tier: 1,
  cost: "means over rows and columns, two norms per tensor",
  factors: "row and column means, or a buffer for small tensors",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    relativeStep: off("min(1e-2, 1 / √t) in place of the learning rate"),
    decayRate: {
      type: "float",
      default: 0.8,
      schedulable: true,
      description: "the moments average with 1 - t^-decayRate",
      ...positive,
    },
    minDimToFactor: {
      type: "integer",
      default: 128,
      min: 1,
      description: "the two largest axes must have this length for means to be kept instead of a buffer",
    },
    epsilon: amount(1e-30, "added to the squared gradient"),
    minScale: amount(1e-3, "the least root mean square that a parameter counts with"),
    clip: amount(1, "largest root mean square of a tensor's update; 0 is no limit"),
    scaleByParameter: on("multiply by the root mean square of the parameter"),
    beta1: {
      type: "float",
      default: 0,
      min: 0,
      max: 1,
      open: "max",
      schedulable: true,
      description: "retained fraction of an average of updates; 0 keeps none",
    },
    ...coupledDecay(0),
  },
  buffers: ({ beta1 }) => (beta1 === 0 ? 0 : 1),
  create: factored,
});

/**
 * Adafactor: Adam with a second moment of which only means over rows and columns are kept. Decay is not multiplied by the
 * learning rate.
 */
export const adafactor = adafactorRecord.create;
