import { ArgumentError } from "@thalweg/tensor";
import type { Constant } from "./constant";
import type { TensorTree } from "./tensors";
import { type EvalContext, type GradientTransformation, type Rule, uniteRefresh, withState } from "./transform";

/**
 * Transformations one after the other, from left to right: each gets the updates of the one before it. They share one
 * step counter. The last link that averages parameters says where to evaluate. Clipping comes first, then the preconditioner, then decoupled weight decay, and the learning rate last.
 *
 * @throws ArgumentError if weight decay follows the learning rate, whose sign it would not have.
 * @example const optimizer = chain(clipByGlobalNorm({ maxNorm: 1 }), adamw({ learningRate: 1e-3 }));
 */
export function chain(...links: readonly GradientTransformation[]): GradientTransformation {
  const rules = links.map(({ rule }) => rule);
  const names = rules.map(({ name }) => name);
  const rate = names.indexOf("scaleByLearningRate");
  if (rate >= 0 && names.indexOf("addDecayedWeights", rate) > 0) {
    throw new ArgumentError(
      "chain: addDecayedWeights follows scaleByLearningRate, so that weights would grow by the factor of the decay. Put the learning rate last.",
    );
  }
  if (rules.length === 1) return links[0] as GradientTransformation;
  return withState(inOrder(rules, "chain"));
}

/** {@link chain} under a name of its own, for messages. */
export function named(name: string, ...links: readonly GradientTransformation[]): GradientTransformation {
  return withState(
    inOrder(
      links.map(({ rule }) => rule),
      name,
    ),
  );
}

function inOrder(rules: readonly Rule[], name: string): Rule {
  const { constants, scoped } = uniteConstants(
    rules,
    rules.map((rule) => rule.name),
  );
  const own = (buffers: TensorTree, index: number) => (buffers as readonly TensorTree[])[index] as TensorTree;
  const averaging = rules.findLastIndex((rule) => rule.evalParams !== undefined);
  const evaluation: Pick<Rule, "evalParams"> =
    averaging < 0
      ? {}
      : {
          evalParams: (buffers, context) => {
            const { evalParams } = rules[averaging] as Rule;
            return evalParams?.(own(buffers, averaging), scoped(context, averaging)) ?? context.params;
          },
        };
  return {
    name,
    constants,
    needs: uniteNeeds(rules),
    ...uniteCurvatures(rules),
    init: (params, model) => rules.map((rule) => rule.init(params, model)),
    update(gradients, buffers, context) {
      let updates = gradients;
      const next = rules.map((rule, index) => {
        const [changed, state] = rule.update(updates, own(buffers, index), scoped(context, index));
        updates = changed;
        return state;
      });
      return [updates, next];
    },
    ...evaluation,
    ...uniteRefreshes(rules),
    quantities: (buffers) =>
      Object.assign({}, ...rules.map((rule, index) => rule.quantities?.(own(buffers, index)) ?? {})),
  };
}

/** As much as any of the rules needs. */
export function uniteRefreshes(rules: readonly Rule[]): Pick<Rule, "refreshesAt"> {
  if (rules.every((rule) => rule.refreshesAt === undefined)) return {};
  return {
    refreshesAt: (step) => uniteRefresh(rules.map((rule) => rule.refreshesAt?.(step) ?? false)),
  };
}

/** The one curvature that rules want. @throws ArgumentError if several of them want one each. */
export function uniteCurvatures(rules: readonly Rule[]): Pick<Rule, "curvature"> {
  const wanting = rules.filter(({ curvature }) => curvature !== undefined);
  const [first, second] = wanting;
  if (second !== undefined) {
    throw new ArgumentError(
      `${wanting.map(({ name }) => name).join(" and ")} want a curvature each. Leave one of them.`,
    );
  }
  return first?.curvature === undefined ? {} : { curvature: first.curvature };
}

/** Everything that any of the rules needs. */
export const uniteNeeds = (rules: readonly Rule[]): Rule["needs"] => [...new Set(rules.flatMap(({ needs }) => needs))];

/**
 * The hyperparameters of several rules as those of one. A name that several of them have gets a prefix.
 *
 * @param prefixes One per rule; where these are equal too, a number is added.
 * @returns the constants, and what each rule is to see of a context.
 */
export function uniteConstants(rules: readonly Pick<Rule, "constants">[], prefixes: readonly string[]) {
  const plain = rules.flatMap(({ constants }) => constants.map(({ name }) => name));
  const isUnique = (name: string) => plain.indexOf(name) === plain.lastIndexOf(name);
  const labels = prefixes.map((prefix, index) => {
    const earlier = prefixes.slice(0, index).filter((other) => other === prefix).length;
    return earlier === 0 ? prefix : `${prefix}${earlier + 1}`;
  });
  const nameOf = (name: string, index: number) => (isUnique(name) ? name : `${labels[index]}.${name}`);
  const constants = rules.flatMap((rule, index) =>
    rule.constants.map((own): Constant => ({ ...own, name: nameOf(own.name, index) })),
  );
  const scoped = <C extends EvalContext>(context: C, index: number): C => ({
    ...context,
    constant: (name, step) => context.constant(nameOf(name, index), step),
  });
  return { constants, scoped };
}
