import { type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { checkSteps } from "../schedules/schedule";
import { mapTensors, type TensorTree } from "../tensors";
import { contextAt, type GradientTransformation } from "../transform";
import { wrap } from "./wrap";

export interface ApplyIfFiniteOptions {
  /** So many updates in a row are skipped at most, at least 1. Default 5. */
  readonly limit?: number;
}

/** A type, so that it counts as a tree. */
type Failures = {
  /** Updates skipped since the last one that was made: u32. */
  readonly inARow: Tensor;
  /** Updates made: u32. */
  readonly made: Tensor;
};

/**
 * Skips updates with a gradient or a result that is infinite or not a number: parameters and the inner state stay as they
 * are, and the inner rule does not count the step (it does if it refreshes, since the loop plans that by the calls). After
 * `limit` such updates in a row the next one passes, so that the loop finds the parameters not finite and stops instead of
 * going on without learning. The number skipped in a row is among the {@link quantities}.
 *
 * @example applyIfFinite(adam(), { limit: 3 })
 */
export function applyIfFinite(
  { rule }: GradientTransformation,
  { limit = 5 }: ApplyIfFiniteOptions = {},
): GradientTransformation {
  const name = "applyIfFinite";
  checkSteps(`${name}: limit`, limit, 1);
  const countsCalls = rule.refreshesAt !== undefined;
  const none = () => tensor(Uint32Array.of(0), { shape: [] });
  return wrap<Failures>(rule, {
    name,
    init: () => ({ inARow: none(), made: none() }),
    update(gradients, { own: { inARow, made }, inner }, contexts) {
      const context = countsCalls ? contexts.inner : contextAt(contexts.inner, made);
      const [updates, next] = rule.update(gradients, inner, context);
      const isSound = areFinite(gradients).and(areFinite(updates));
      const passes = isSound.or(inARow.greaterEqual(limit));
      const kept = mapTensors((after, before) => passes.where(after, before), next, inner);
      const own = { inARow: isSound.where(0, inARow.add(1)), made: passes.where(made.add(1), made) };
      return [mapTensors((u) => passes.where(u, 0), updates), { own, inner: kept }];
    },
    quantities: ({ inARow }) => ({ skipped: inARow }),
  });
}

/** Whether all elements of all tensors are: bool scalar. */
const areFinite = (tree: TensorTree): Tensor =>
  treeLeaves<Tensor>(tree)
    .map((x) => x.isFinite().all())
    .reduce((all, next) => all.and(next));
