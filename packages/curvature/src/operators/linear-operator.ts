/** Linear maps between trees of tensors that are known by their products alone. */
import { vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  concat,
  eye,
  formatPath,
  sizeOf,
  type Tensor,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
  UnsupportedError,
} from "@thalweg/tensor";

/** A linear map A from trees like `domain` to trees like `range`. All products are lazy. */
export interface LinearOperator<In = unknown, Out = In> {
  /** For messages. */
  readonly name: string;
  /** Trees of the shapes that it maps between; their numbers do not matter. */
  readonly domain: In;
  readonly range: Out;
  /** A v. */
  apply(v: In): Out;
  /** Aᵀ u. */
  applyTranspose(u: Out): In;
}

/** A symmetric map. */
export const symmetricOperator = <T>(name: string, like: T, apply: (v: T) => T): LinearOperator<T> => ({
  name,
  domain: like,
  range: like,
  apply,
  applyTranspose: apply,
});

/** A for k vectors in one pass: trees with one more axis in front. */
export const applyMany = <In, Out>(operator: LinearOperator<In, Out>, vectors: In): Out =>
  vmap((v: In) => operator.apply(v))(vectors);

/** Aᵀ. */
export const transposed = <In, Out>({
  name,
  domain,
  range,
  apply,
  applyTranspose,
}: LinearOperator<In, Out>): LinearOperator<Out, In> => ({
  name: `${name}ᵀ`,
  domain: range,
  range: domain,
  apply: applyTranspose,
  applyTranspose: apply,
});

const add = <T>(a: T, b: T): T => treeMap((x: Tensor, y: Tensor) => x.add(y), a, b) as T;
const times = <T>(a: T, factor: number | Tensor): T => treeMap((x: Tensor) => x.mul(factor), a) as T;

/** A + B. */
export const sum = <In, Out>(a: LinearOperator<In, Out>, b: LinearOperator<In, Out>): LinearOperator<In, Out> => ({
  name: `${a.name} + ${b.name}`,
  domain: a.domain,
  range: a.range,
  apply: (v) => add(a.apply(v), b.apply(v)),
  applyTranspose: (u) => add(a.applyTranspose(u), b.applyTranspose(u)),
});

/** c A. @param factor A number, or a scalar. */
export const scaled = <In, Out>(a: LinearOperator<In, Out>, factor: number | Tensor): LinearOperator<In, Out> => ({
  name: `c · ${a.name}`,
  domain: a.domain,
  range: a.range,
  apply: (v) => times(a.apply(v), factor),
  applyTranspose: (u) => times(a.applyTranspose(u), factor),
});

/** A - B. */
export const difference = <In, Out>(
  a: LinearOperator<In, Out>,
  b: LinearOperator<In, Out>,
): LinearOperator<In, Out> => ({
  ...sum(a, scaled(b, -1)),
  name: `${a.name} - ${b.name}`,
});

/** A + λ I. @param lambda A number, or a scalar. */
export const shifted = <T>(a: LinearOperator<T>, lambda: number | Tensor): LinearOperator<T> => ({
  name: `${a.name} + λ`,
  domain: a.domain,
  range: a.range,
  apply: (v) => add(a.apply(v), times(v, lambda)),
  applyTranspose: (u) => add(a.applyTranspose(u), times(u, lambda)),
});

/** A B: first B, then A. */
export const composed = <In, Middle, Out>(
  a: LinearOperator<Middle, Out>,
  b: LinearOperator<In, Middle>,
): LinearOperator<In, Out> => ({
  name: `${a.name} · ${b.name}`,
  domain: b.domain,
  range: a.range,
  apply: (v) => a.apply(b.apply(v)),
  applyTranspose: (u) => b.applyTranspose(a.applyTranspose(u)),
});

/**
 * The block of some leaves, as a map of lists of these leaves.
 *
 * @param selects gets the path of a leaf: keys joined with dots.
 * @throws ArgumentError if nothing is selected.
 */
export function restricted<T>(
  a: LinearOperator<T>,
  selects: (path: string) => boolean,
): LinearOperator<readonly Tensor[]> {
  const { leaves, paths, structure } = treeFlatten<Tensor>(a.domain);
  const chosen = paths.flatMap((path, index) => (selects(nameOf(path)) ? [index] : []));
  if (chosen.length === 0) {
    throw new ArgumentError(`restricted ${a.name}: no parameter is selected of ${paths.map(nameOf).join(", ")}.`);
  }
  const spread = (v: readonly Tensor[]): T =>
    treeUnflatten(
      structure,
      leaves.map((leaf, index) => (chosen.includes(index) ? v[chosen.indexOf(index)] : leaf.zerosLike())),
    ) as T;
  const pick = (tree: T): Tensor[] => {
    const all = treeLeaves<Tensor>(tree);
    return chosen.map((index) => all[index] as Tensor);
  };
  const like = chosen.map((index) => leaves[index] as Tensor);
  return {
    name: `block of ${a.name}`,
    domain: like,
    range: like,
    apply: (v) => pick(a.apply(spread(v))),
    applyTranspose: (u) => pick(a.applyTranspose(spread(u))),
  };
}

const nameOf = (path: TreePath): string => formatPath(path);

/** The number of elements of a tree. */
export const dimension = (tree: unknown): number =>
  treeLeaves<Tensor>(tree).reduce((size, leaf) => size + sizeOf(leaf.shape), 0);

/** A tree as one vector `[n]`, leaf after leaf; with k trees in one, `[k, n]`. */
export function flattenTree(tree: unknown, leading = 0): Tensor {
  const rows = treeLeaves<Tensor>(tree).map((leaf) => leaf.reshape([...leaf.shape.slice(0, leading), -1]));
  return rows.length === 1 ? (rows[0] as Tensor) : concat(rows, { axis: leading });
}

/** A vector `[n]`, or `[k, n]`, as a tree like another one. */
export function unflattenTree<T>(vector: Tensor, like: T): T {
  const { leaves, structure } = treeFlatten<Tensor>(like);
  const leading = vector.shape.slice(0, -1);
  let start = 0;
  const parts = leaves.map(({ shape }) => {
    const size = sizeOf(shape);
    start += size;
    const zeros = leading.map(() => 0);
    return vector.slice([...zeros, start - size], [...leading, start]).reshape([...leading, ...shape]);
  });
  return treeUnflatten(structure, parts) as T;
}

/** The operator on flattened vectors `[n]` to `[m]`. */
export const onVectors = <In, Out>({
  name,
  domain,
  range,
  apply,
  applyTranspose,
}: LinearOperator<In, Out>): LinearOperator<Tensor> => ({
  name,
  domain: flattenTree(domain),
  range: flattenTree(range),
  apply: (v) => flattenTree(apply(unflattenTree(v, domain))),
  applyTranspose: (u) => flattenTree(applyTranspose(unflattenTree(u, range))),
});

/**
 * The matrix `[m, n]`, row-major over the leaves in their order.
 *
 * @param limit largest number of elements. Default 2^24.
 * @throws UnsupportedError for more.
 */
export function toDense<In, Out>(
  operator: LinearOperator<In, Out>,
  { limit = 2 ** 24 }: { readonly limit?: number } = {},
): Tensor {
  const [columns, rows] = [dimension(operator.domain), dimension(operator.range)];
  if (rows * columns > limit) {
    throw new UnsupportedError(
      `toDense of ${operator.name}: ${rows} × ${columns} elements are more than ${limit}. Use products, or raise limit.`,
    );
  }
  return applyMany(onVectors(operator), eye(columns)).transpose();
}
