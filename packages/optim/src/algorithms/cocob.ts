import type { Tensor } from "@thalweg/tensor";
import { named } from "../chain";
import { constant, nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeFull, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { decayLinks } from "../transforms/decay";
import { awayFromZero } from "../transforms/moments";
import { coupledDecay } from "./specs";

interface CocobOptions {
  readonly alpha: number | Schedule;
  readonly epsilon: number;
}

/** A type, so that it counts as a tree. */
type CocobBuffers = {
  readonly start: TensorTree;
  /** The largest gradient. */
  readonly largest: TensorTree;
  /** The sum of sizes of gradients. */
  readonly sizes: TensorTree;
  /** Minus the sum of gradients. */
  readonly sum: TensorTree;
  readonly reward: TensorTree;
};

function coinBetting({ alpha, epsilon }: CocobOptions): GradientTransformation {
  const owner = "cocob";
  const { value: first } = constant(owner, "epsilon", epsilon, nonNegative);
  return transformation<CocobBuffers>({
    name: owner,
    constants: [constant(owner, "alpha", alpha, positive)],
    init: (params) => ({
      start: copyOf(params),
      largest: treeFull(params, first),
      sizes: treeZeros(params),
      sum: treeZeros(params),
      reward: treeZeros(params),
    }),
    update(gradients, { start, ...before }, { params, constant: numbers }) {
      const [caution] = numbers("alpha") as [Tensor];
      const largest = mapTensors((l, g) => l.maximum(g.abs()), before.largest, gradients);
      const sizes = mapTensors((s, g) => s.add(g.abs()), before.sizes, gradients);
      const won = (r: Tensor, g: Tensor, x: Tensor, origin: Tensor) => r.sub(g.mul(x.sub(origin))).maximum(0);
      const reward = mapTensors(won, before.reward, gradients, params, start);
      const sum = mapTensors((s, g) => s.sub(g), before.sum, gradients);
      const bets = mapTensors(
        (s, l, size) => s.div(awayFromZero(l.mul(size.add(l).maximum(l.mul(caution))))),
        sum,
        largest,
        sizes,
      );
      const updates = mapTensors(
        (bet, l, r, origin, x) => origin.add(bet.mul(l.add(r))).sub(x),
        bets,
        largest,
        reward,
        start,
        params,
      );
      return [updates, { start, largest, sizes, sum, reward }];
    },
  });
}

/** The record of {@link cocob}. */
export const cocobRecord = defineOptimizer({
  name: "cocob",
  title: "COCOB-Backprop",
  source: "Orabona & Tommasi, Training Deep Networks without Learning Rates Through Coin Betting",
  year: 2017,
  family: "rateFree",
  tier: 2,
  without: ["learningRate", "schedule"],
  cost: "elementwise",
  hyperparameters: {
    alpha: {
      type: "float",
      default: 100,
      schedulable: true,
      description: "how careful the first bets are",
      ...positive,
    },
    epsilon: { type: "float", default: 1e-8, description: "the largest gradient before the first one", ...nonNegative },
    ...coupledDecay(0),
  },
  buffers: () => 5,
  create: ({ weightDecay, decayMask, ...values }) =>
    named("cocob", ...decayLinks(weightDecay, decayMask), coinBetting(values)),
});

/** COCOB-Backprop: every weight bets a part of what it won so far on the next sign of its gradient. */
export const cocob = cocobRecord.create;
