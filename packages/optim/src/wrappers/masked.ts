import type { Tensor } from "@thalweg/tensor";
import { ArgumentError, treeFlatten, treeUnflatten } from "@thalweg/tensor";
import { uniteConstants, uniteNeeds, uniteRefreshes } from "../chain";
import { describeParameters, type ParameterInfo, type ParameterPredicate, type TensorTree } from "../tensors";
import {
  type Extra,
  type GradientTransformation,
  type Rule,
  type UpdateContext,
  unknownName,
  withState,
} from "../transform";

/**
 * Applies a transformation to some parameters; the gradients of the others pass unchanged. No state is kept for those.
 *
 * @example masked(clipByNorm({ maxNorm: 1 }), ({ shape }) => shape.length >= 2)
 */
export function masked(inner: GradientTransformation, predicate: ParameterPredicate): GradientTransformation {
  const { rule } = inner;
  refuseCurvature([rule]);
  const { evalParams } = rule;
  const split = (params: TensorTree) => splitBy(describeParameters(params).map(predicate));
  return withState({
    ...rule,
    name: `masked ${rule.name}`,
    init: (params) => rule.init(split(params).chosen(params)),
    update(gradients, buffers, context) {
      const { chosen, joined, seen } = split(context.params);
      const [updates, next] = rule.update(chosen(gradients), buffers, seen(context));
      return [joined(updates, gradients), next];
    },
    ...(evalParams && {
      evalParams(buffers, context) {
        const { chosen, joined } = split(context.params);
        return joined(evalParams(buffers, { ...context, params: chosen(context.params) }), context.params);
      },
    }),
  });
}

/**
 * Different transformations for different parameters.
 *
 * @param labeller The label of each parameter; it sees path, shape and role.
 * @throws ArgumentError for a label without transformation, when it is used.
 * @example partition({ matrix: momentum(), vector: adam() }, ({ shape }) => (shape.length >= 2 ? "matrix" : "vector"))
 */
export function partition<L extends string>(
  transformations: Readonly<Record<L, GradientTransformation>>,
  labeller: (parameter: ParameterInfo) => L,
): GradientTransformation {
  const labels = Object.keys(transformations) as L[];
  const rules = labels.map((label) => transformations[label].rule);
  if (rules.length === 0) throw new ArgumentError("partition: no transformation given. Give one for every label.");
  refuseCurvature(rules);
  const { constants, scoped } = uniteConstants(rules, labels);
  /** For every parameter the index of its transformation. */
  const choices = (params: TensorTree): number[] =>
    describeParameters(params).map((parameter) => {
      const label = labeller(parameter);
      const index = labels.indexOf(label);
      if (index < 0) throw unknownName(`label of ${parameter.path.join(".") || "a parameter"}`, String(label), labels);
      return index;
    });
  const part = (tree: TensorTree, chosen: readonly number[], index: number) =>
    select(
      tree,
      chosen.map((own) => own === index),
    );
  const isAveraging = rules.some((rule) => rule.evalParams !== undefined);
  return withState({
    name: "partition",
    constants,
    needs: uniteNeeds(rules),
    init(params) {
      const chosen = choices(params);
      return Object.fromEntries(labels.map((label, index) => [label, rules[index]?.init(part(params, chosen, index))]));
    },
    update(gradients, buffers, context) {
      const chosen = choices(context.params);
      const states = buffers as Readonly<Record<L, TensorTree>>;
      const results = rules.map((rule, index) => {
        const own = splitBy(chosen.map((choice) => choice === index)).seen(scoped(context, index));
        return rule.update(part(gradients, chosen, index), states[labels[index] as L], own);
      });
      const next = Object.fromEntries(labels.map((label, index) => [label, results[index]?.[1]]));
      return [
        merge(
          results.map(([updates]) => updates),
          chosen,
          gradients,
        ),
        next,
      ];
    },
    ...(isAveraging && {
      evalParams(buffers, context) {
        const chosen = choices(context.params);
        const states = buffers as Readonly<Record<L, TensorTree>>;
        const points = rules.map((rule, index) => {
          const own = { ...scoped(context, index), params: part(context.params, chosen, index) };
          return rule.evalParams?.(states[labels[index] as L], own) ?? own.params;
        });
        return merge(points, chosen, context.params);
      },
    }),
    ...uniteRefreshes(rules),
    quantities(buffers) {
      const states = buffers as Readonly<Record<L, TensorTree>>;
      return Object.assign({}, ...rules.map((rule, index) => rule.quantities?.(states[labels[index] as L]) ?? {}));
    },
  });
}

/** Blocks of a curvature are made of all parameters: a rule that sees some of them cannot use it. */
function refuseCurvature(rules: readonly Rule[]): void {
  const wanting = rules.find(({ curvature }) => curvature !== undefined);
  if (wanting === undefined) return;
  throw new ArgumentError(
    `${wanting.name} needs the curvature of the whole model, not of some parameters. Use its option rest for the others.`,
  );
}

/** Trees of the chosen tensors alone, and how they stand among the others. */
function splitBy(isChosen: readonly boolean[]) {
  const chosen = (tree: TensorTree) => select(tree, isChosen);
  /** The new tensors of the chosen ones, the old ones of the others. */
  const joined = (tree: TensorTree, old: TensorTree) => {
    const others = select(
      old,
      isChosen.map((is) => !is),
    );
    return merge(
      [tree, others],
      isChosen.map((is) => (is ? 0 : 1)),
      old,
    );
  };
  /** The context of a rule that knows of the chosen ones only: at other points of theirs the others stay where they are. */
  const seen = (context: UpdateContext): UpdateContext => {
    const { params, extra } = context;
    const { valueAndGrad, curvatureDiagonal, perSample } = extra;
    const own: Extra = {
      ...extra,
      ...(valueAndGrad && {
        valueAndGrad(point) {
          const [loss, gradients] = valueAndGrad(joined(point, params));
          return [loss, chosen(gradients)];
        },
      }),
      ...(curvatureDiagonal && { curvatureDiagonal: () => chosen(curvatureDiagonal()) }),
      ...(perSample && { perSample: () => chosen(perSample()) }),
    };
    return { ...context, params: chosen(params), extra: own };
  };
  return { chosen, joined, seen };
}

/** The tree with `null` in place of every tensor that is not chosen. */
function select(tree: TensorTree, chosen: readonly boolean[]): TensorTree {
  const { leaves, structure } = treeFlatten<Tensor>(tree);
  return treeUnflatten(
    structure,
    leaves.map((leaf, index) => (chosen[index] ? leaf : null)),
  ) as TensorTree;
}

/** A tree like `like` whose leaf number i is the next unread one of the tree number `source[i]`. */
function merge(trees: readonly TensorTree[], source: readonly number[], like: TensorTree): TensorTree {
  const { structure } = treeFlatten<Tensor>(like);
  const unread = trees.map((tree) => treeFlatten<Tensor>(tree).leaves.values());
  return treeUnflatten(
    structure,
    source.map((tree) => unread[tree]?.next().value),
  ) as TensorTree;
}
