import { full, type Tensor } from "@thalweg/tensor";
import { checkSteps } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { contextAt, type GradientTransformation, withState } from "../transform";

/** State of {@link accumulate}. */
interface Accumulation {
  readonly sum: TensorTree;
  readonly inner: TensorTree;
  /** The sum of the losses, where the rule inside needs one. */
  readonly loss: Tensor | null;
}

/**
 * Collects the gradients of `every` calls; the last of them makes one update with their mean, the others none. The
 * inner transformation counts updates, not calls, and sees the mean loss. Its update is computed in every call and kept in
 * the last one, so that what it asks for itself (`valueAndGrad`, curvature) comes from the last batch.
 */
export function accumulate(
  inner: GradientTransformation,
  { every }: { readonly every: number },
): GradientTransformation {
  checkSteps("accumulate: every", every, 1);
  const { rule } = inner;
  const { evalParams, refreshesAt, quantities } = rule;
  const own = (buffers: TensorTree) => buffers as unknown as Accumulation;
  return withState({
    ...rule,
    name: `accumulate ${rule.name}`,
    init: (params, model) => ({
      sum: treeZeros(params),
      inner: rule.init(params, model),
      loss: rule.needs.includes("loss") ? full([], 0) : null,
    }),
    update(gradients, buffers, context) {
      const old = own(buffers);
      const isLast = context.step.rem(every).equal(every - 1);
      const sum = mapTensors((s, g) => s.add(g), old.sum, gradients);
      const mean = mapTensors((s) => s.mul(1 / every), sum);
      const loss = old.loss?.add(context.extra.loss?.cast("f32") ?? 0) ?? null;
      const extra = loss === null ? context.extra : { ...context.extra, loss: loss.mul(1 / every) };
      const inContext = contextAt({ ...context, extra }, context.step.div(every));
      const [updates, next] = rule.update(mean, old.inner, inContext);
      const kept = {
        sum: mapTensors((s) => isLast.where(0, s), sum),
        loss: loss && isLast.where(0, loss),
        inner: mapTensors((after, before) => isLast.where(after, before), next, old.inner),
      };
      return [mapTensors((u) => isLast.where(u, 0), updates), kept];
    },
    ...(evalParams && {
      evalParams: (buffers, context) => evalParams(own(buffers).inner, contextAt(context, context.step.div(every))),
    }),
    ...(refreshesAt && {
      refreshesAt: (call) => (call + 1) % every === 0 && refreshesAt(Math.floor(call / every)),
    }),
    ...(quantities && { quantities: (buffers) => quantities(own(buffers).inner) }),
  });
}
