/** Lengths of other methods' steps for the directions of blocks. */
import type { Block } from "@thalweg/curvature";
import { type Tensor, treeFlatten, treeUnflatten } from "@thalweg/tensor";
import { type Constant, decayConstant } from "../constant";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { biasCorrection, updateAverage } from "./average";
import { blockNorm, leavesOf } from "./kronecker";
import { awayFromZero } from "./moments";

/**
 * Whose length a block's direction is given: that of its gradient, of SGD's step (the gradient with weight decay), of heavy
 * ball's or of Adam's. `"none"` leaves it alone.
 */
export type BlockGraft = "none" | "gradient" | "sgd" | "momentum" | "adam";

export const blockGrafts: readonly BlockGraft[] = ["none", "gradient", "sgd", "momentum", "adam"];

/** (A type, so that it counts as a tree.) */
export type GraftState = { readonly first: TensorTree; readonly second: TensorTree };

/** Adam's usual numbers; the retained fraction of heavy ball is that of the optimizer. */
export const graftConstants = (owner: string, graft: BlockGraft): readonly Constant[] =>
  graft === "adam" ? [decayConstant(owner, "graftBeta1", 0.9), decayConstant(owner, "graftBeta2", 0.999)] : [];

export const startGraft = (graft: BlockGraft, params: TensorTree): GraftState => ({
  first: graft === "momentum" || graft === "adam" ? treeZeros(params) : null,
  second: graft === "adam" ? treeZeros(params) : null,
});

export interface GraftStep {
  readonly gradients: TensorTree;
  /** Gradients with the weight decay of the step. */
  readonly decayed: TensorTree;
  readonly step: Tensor;
  readonly constant: (name: string) => readonly Tensor[];
}

/** The steps whose lengths count, and the state after them. */
export function graftSteps(
  graft: BlockGraft,
  before: GraftState,
  { gradients, decayed, step, constant: numbers }: GraftStep,
): readonly [steps: TensorTree, after: GraftState] {
  switch (graft) {
    case "none":
    case "gradient":
      return [gradients, before];
    case "sgd":
      return [decayed, before];
    case "momentum": {
      const [mu] = numbers("momentum") as [Tensor];
      const first = mapTensors((v, g) => v.mul(mu).add(g), before.first, decayed);
      return [first, { ...before, first }];
    }
    case "adam": {
      const [beta1, beta2] = [numbers("graftBeta1"), numbers("graftBeta2")];
      const first = updateAverage(beta1, before.first, decayed);
      const second = updateAverage(
        beta2,
        before.second,
        mapTensors((g) => g.square(), decayed),
      );
      const [c1, c2] = [biasCorrection(beta1, step), biasCorrection(beta2, step)];
      const direction = (m: Tensor, v: Tensor) => m.div(c1).div(awayFromZero(v.div(c2).sqrt().add(adamEpsilon)));
      return [mapTensors(direction, first, second), { first, second }];
    }
  }
}

const adamEpsilon = 1e-8;

/** Every block of `directions` scaled to the length that it has in `steps`; a block without a direction stays. */
export function grafted(blocks: readonly Block[], directions: TensorTree, steps: TensorTree): TensorTree {
  const { leaves, structure } = treeFlatten<Tensor>(directions);
  const results = [...leaves];
  for (const block of blocks) {
    const own = blockNorm(block, directions);
    const isMoving = own.greater(0);
    const factor = isMoving.where(blockNorm(block, steps).div(isMoving.where(own, 1)), 0);
    for (const index of leavesOf(block)) results[index] = (leaves[index] as Tensor).mul(factor);
  }
  return treeUnflatten(structure, results) as TensorTree;
}
