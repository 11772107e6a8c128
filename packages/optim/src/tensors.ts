import {
  ArgumentError,
  type Tensor,
  type Tree,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";

/** Plain objects and arrays of tensors; `null` stands for what is left out. */
export type TensorTree = Tree<Tensor>;

/** `fn` of the corresponding tensors of trees of one structure. */
export function mapTensors(fn: (...tensors: Tensor[]) => Tensor, ...trees: readonly TensorTree[]): TensorTree {
  return (treeMap as (fn: unknown, ...trees: readonly unknown[]) => TensorTree)(fn, ...trees);
}

/**
 * Updates tensor by tensor, for rules that keep something else than trees like the parameters.
 *
 * @param states one per tensor, in the order of the leaves.
 */
export function updateEach<S>(
  gradients: TensorTree,
  states: readonly S[],
  params: TensorTree,
  update: (gradient: Tensor, state: S, parameter: Tensor, index: number) => readonly [update: Tensor, state: S],
): readonly [updates: TensorTree, states: S[]] {
  const { leaves, structure } = treeFlatten<Tensor>(gradients);
  const parameters = treeLeaves<Tensor>(params);
  const results = leaves.map((g, index) => update(g, states[index] as S, parameters[index] as Tensor, index));
  const updates = results.map(([own]) => own);
  return [treeUnflatten(structure, updates) as TensorTree, results.map(([, own]) => own)];
}

/** One parameter as masks, labels and rules see it. */
export interface ParameterInfo {
  /** Keys from the root: `["conv1", "kernel"]`. */
  readonly path: TreePath;
  readonly shape: readonly number[];
  /** What it is in its layer, by the names that layers give; a model knows better ({@link withRoles}). */
  readonly role: ParameterRole;
}

/** What a parameter is in its layer. */
export type ParameterRole = "weight" | "bias" | "norm" | "embedding" | "head";

/** Decides for one parameter. */
export type ParameterPredicate = (parameter: ParameterInfo) => boolean;

/** What is known about the parameters of a tree, in the order of its leaves. */
export function describeParameters(params: TensorTree): ParameterInfo[] {
  const { leaves, paths } = treeFlatten<Tensor>(params);
  const known = new Set(paths.map((path) => path.join("/")));
  return leaves.map(({ shape }, index) => {
    const path = paths[index] as TreePath;
    const sibling = (name: string) => known.has([...path.slice(0, -1), name].join("/"));
    return { path, shape, role: roleOf(path, shape, sibling) };
  });
}

/** The convention of packages/nn: `kernel` and `bias`, `scale` and `bias` of norms, `table`; else by rank. */
function roleOf(
  path: TreePath,
  { length: rank }: readonly number[],
  sibling: (name: string) => boolean,
): ParameterRole {
  const name = String(path.at(-1) ?? "");
  if (name === "scale" || (name === "bias" && sibling("scale"))) return "norm";
  if (name === "table") return "embedding";
  if (name === "bias" || rank <= 1) return "bias";
  return String(path.at(-2)) === "head" ? "head" : "weight";
}

/**
 * A predicate or labeller that is told the roles that a model knows of its parameters.
 *
 * @param roles A tree like the parameters, as `model.roles(params)` gives it.
 * @throws ArgumentError for a parameter that the tree lacks.
 * @example partition({ matrix: muon(), rest: adamw() }, withRoles(roles, ({ role }) => (role === "weight" ? "matrix" : "rest")))
 */
export function withRoles<T>(roles: unknown, decide: (parameter: ParameterInfo) => T): (parameter: ParameterInfo) => T {
  const { leaves, paths } = treeFlatten<ParameterRole>(roles as never);
  const byPath = new Map(paths.map((path, index) => [path.join("/"), leaves[index] as ParameterRole]));
  return (parameter) => {
    const role = byPath.get(parameter.path.join("/"));
    if (role === undefined) {
      throw new ArgumentError(
        `withRoles: there is no role for ${parameter.path.join(".")}. Give the roles of the same model as the parameters.`,
      );
    }
    return decide({ ...parameter, role });
  };
}

/** Zeros like every tensor, f32. */
export const treeZeros = (tree: TensorTree): TensorTree => treeFull(tree, 0);

/** One value in every element of every tensor, f32. */
export const treeFull = (tree: TensorTree, value: number): TensorTree =>
  mapTensors((x) => x.cast("f32").fullLike(value), tree);

/**
 * The sum of the squares of all elements: scalar, f32. Each tensor is summed on its own, then the sums in leaf order, so
 * that the result is the same in every run.
 */
export function treeSquaredNorm(tree: unknown): Tensor {
  const [first, ...rest] = treeLeaves<Tensor>(tree).map((x) => x.cast("f32").square().sum());
  if (first === undefined) throw new ArgumentError("treeSquaredNorm: the tree has no tensor. Give at least one.");
  return rest.reduce((sum, next) => sum.add(next), first);
}

/** The sum of the products of corresponding elements: scalar, f32; in the order of {@link treeSquaredNorm}. */
export const treeDot = (a: TensorTree, b: TensorTree): Tensor => treeSum(mapTensors((x, y) => x.mul(y), a, b));

/** The sum of all elements: scalar, f32. */
export function treeSum(tree: TensorTree): Tensor {
  const [first, ...rest] = treeLeaves<Tensor>(tree).map((x) => x.cast("f32").sum());
  if (first === undefined) throw new ArgumentError("treeSum: the tree has no tensor. Give at least one.");
  return rest.reduce((sum, next) => sum.add(next), first);
}

/** A copy that has memory of its own, for rules that remember the parameters that they began with. */
export const copyOf = (tree: TensorTree): TensorTree => mapTensors((x) => x.cast("f32").add(0), tree);

/** The Euclidean norm of all elements together: scalar, f32. */
export const treeNorm = (tree: unknown): Tensor => treeSquaredNorm(tree).sqrt();
