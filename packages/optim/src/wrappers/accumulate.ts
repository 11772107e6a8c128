import { checkSteps } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, withState } from "../transform";

/** State of {@link accumulate}. */
interface Accumulation {
  readonly sum: TensorTree;
  readonly inner: TensorTree;
}

/**
 * Collects the gradients of `every` calls; the last of them makes one update with their mean, the others none. The
 * inner transformation counts updates, not calls. Its update is computed in every call and kept in the last one.
 */
export function accumulate(
  inner: GradientTransformation,
  { every }: { readonly every: number },
): GradientTransformation {
  checkSteps("accumulate: every", every, 1);
  const { rule } = inner;
  const { evalParams } = rule;
  return withState({
    ...rule,
    name: `accumulate ${rule.name}`,
    init: (params) => ({ sum: treeZeros(params), inner: rule.init(params) }),
    update(gradients, buffers, context) {
      const old = buffers as unknown as Accumulation;
      const isLast = context.step.rem(every).equal(every - 1);
      const sum = mapTensors((s, g) => s.add(g), old.sum, gradients);
      const mean = mapTensors((s) => s.mul(1 / every), sum);
      const [updates, next] = rule.update(mean, old.inner, { ...context, step: context.step.div(every) });
      const kept = {
        sum: mapTensors((s) => isLast.where(0, s), sum),
        inner: mapTensors((after, before) => isLast.where(after, before), next, old.inner),
      };
      return [mapTensors((u) => isLast.where(u, 0), updates), kept];
    },
    ...(evalParams && {
      evalParams: (buffers, context) =>
        evalParams((buffers as unknown as Accumulation).inner, { ...context, step: context.step.div(every) }),
    }),
  });
}
