import { ArgumentError } from "@thalweg/tensor";
import { uniteConstants, uniteCurvatures } from "../chain";
import type { Constant } from "../constant";
import type { TensorTree } from "../tensors";
import { type EvalContext, type Rule, withState } from "../transform";

/** What a wrapper keeps: something of its own, and the state of the rule inside. (A type, so that it counts as a tree.) */
export type Wrapped<S extends TensorTree> = { readonly own: S; readonly inner: TensorTree };

/** A rule around another one. */
export interface Wrapper<S extends TensorTree> extends Partial<Pick<Rule, "needs" | "refreshesAt">> {
  readonly name: string;
  readonly constants?: readonly Constant[];
  init(params: TensorTree): S;
  /** @param context that of the wrapper, and as the rule inside is to see it. */
  update(
    gradients: TensorTree,
    buffers: Wrapped<S>,
    context: { readonly own: Parameters<Rule["update"]>[2]; readonly inner: Parameters<Rule["update"]>[2] },
  ): readonly [updates: TensorTree, buffers: Wrapped<S>];
  evalParams?(buffers: Wrapped<S>, context: { readonly own: EvalContext; readonly inner: EvalContext }): TensorTree;
  quantities?(own: S): ReturnType<NonNullable<Rule["quantities"]>>;
}

/** Makes a transformation of a wrapper and the rule inside; what the wrapper does not define is that of the rule. */
export function wrap<S extends TensorTree>(rule: Rule, wrapper: Wrapper<S>) {
  const { name, constants: ownConstants = [], needs = [] } = wrapper;
  const { constants, scoped } = uniteConstants([{ constants: ownConstants }, rule], [name, rule.name]);
  const both = <C extends EvalContext>(context: C) => ({ own: scoped(context, 0), inner: scoped(context, 1) });
  const of = (buffers: TensorTree) => buffers as unknown as Wrapped<S>;
  const evaluation: Pick<Rule, "evalParams"> = wrapper.evalParams
    ? { evalParams: (buffers, context) => wrapper.evalParams?.(of(buffers), both(context)) ?? context.params }
    : rule.evalParams
      ? {
          evalParams: (buffers, context) => rule.evalParams?.(of(buffers).inner, both(context).inner) ?? context.params,
        }
      : {};
  const refreshesAt = wrapper.refreshesAt ?? rule.refreshesAt;
  return withState({
    name,
    constants,
    needs: [...new Set([...needs, ...rule.needs])],
    ...uniteCurvatures([rule]),
    init: (params, model) => ({ own: wrapper.init(params), inner: rule.init(params, model) }),
    update: (gradients, buffers, context) => wrapper.update(gradients, of(buffers), both(context)),
    quantities: (buffers) => ({
      ...rule.quantities?.(of(buffers).inner),
      ...wrapper.quantities?.(of(buffers).own),
    }),
    ...evaluation,
    ...(refreshesAt && { refreshesAt }),
  });
}

/**
 * Refuses what moves parameters by itself where a direction is asked for: its sign would be the wrong one.
 *
 * @throws ArgumentError for a rule with a learning rate.
 */
export function checkDirection(owner: string, { name, constants }: Rule): void {
  if (!constants.some((own) => own.name.split(".").at(-1) === "learningRate")) return;
  throw new ArgumentError(
    `${owner}: ${name} has a learning rate of its own. Give a direction without, such as scaleByAdam or scaleByRms.`,
  );
}
