/** Parts of operators: blocks of their diagonal, rows and columns, the diagonal itself. */
import {
  ArgumentError,
  formatPath,
  full,
  type Tensor,
  tensor,
  treeFlatten,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";
import { dimension, type LinearOperator, onVectors, restricted, symmetricOperator, toDense } from "./linear-operator";

/** The name of the block that a leaf belongs to, from its path: keys joined with dots. */
export type BlockOf = (path: string) => string;

/** Every leaf by itself. */
export const byParameter: BlockOf = (path) => path;

/** The leaves of one layer, which are those whose paths differ in the last key. */
export const byLayer: BlockOf = (path) => path.split(".").slice(0, -1).join(".") || path;

interface NamedBlock {
  readonly name: string;
  /** Paths of its leaves. */
  readonly parameters: readonly string[];
  /** Positions of its leaves. */
  readonly positions: readonly number[];
}

function blocksOf(tree: unknown, blockOf: BlockOf): NamedBlock[] {
  const paths = treeFlatten<Tensor>(tree).paths.map(formatPath);
  const names = [...new Set(paths.map(blockOf))];
  return names.map((name) => {
    const positions = paths.flatMap((path, index) => (blockOf(path) === name ? [index] : []));
    return { name, positions, parameters: positions.map((position) => paths[position] as string) };
  });
}

/**
 * The block diagonal of a symmetric operator: what lies between parameters of different blocks counts as zero. A product
 * takes one product with the operator for each block.
 *
 * @param blockOf Default: {@link byParameter}.
 */
export function blockDiagonal<T>(operator: LinearOperator<T>, blockOf: BlockOf = byParameter): LinearOperator<T> {
  const blocks = blocksOf(operator.domain, blockOf).map(({ positions, parameters }) => ({
    positions,
    own: restricted(operator, (path) => parameters.includes(path)),
  }));
  return symmetricOperator(`block diagonal of ${operator.name}`, operator.domain, (v) => {
    const { leaves, structure } = treeFlatten<Tensor>(v);
    const results = [...leaves];
    for (const { positions, own } of blocks) {
      const products = own.apply(positions.map((position) => leaves[position] as Tensor));
      positions.forEach((position, index) => {
        results[position] = products[index] as Tensor;
      });
    }
    return treeUnflatten(structure, results) as T;
  });
}

export interface DenseBlock {
  readonly name: string;
  /** Paths of its parameters, in the order of rows and columns. */
  readonly parameters: readonly string[];
  /** `[n, n]`, each parameter row-major. */
  readonly matrix: Tensor;
}

/**
 * The blocks of the diagonal as matrices, lazy: n products for a block of n.
 *
 * @param limit Largest number of elements of a block. Default 2^24.
 * @throws UnsupportedError for a larger block.
 */
export function denseBlocks<T>(
  operator: LinearOperator<T>,
  { blockOf = byParameter, limit }: { readonly blockOf?: BlockOf; readonly limit?: number } = {},
): readonly DenseBlock[] {
  return blocksOf(operator.domain, blockOf).map(({ name, parameters }) => {
    const block = restricted(operator, (path) => parameters.includes(path));
    const named = { ...block, name: `block ${name} of ${operator.name}` };
    return { name, parameters, matrix: toDense(named, limit === undefined ? {} : { limit }) };
  });
}

/**
 * Some rows and columns of an operator, as a map of vectors `[columns]` to `[rows]`: `toDense` of it is the submatrix, for one
 * product per column.
 *
 * @param rows, columns Positions in the flattened range and domain, leaf after leaf.
 * @throws ArgumentError for a position outside.
 */
export function submatrix<In, Out>(
  operator: LinearOperator<In, Out>,
  rows: readonly number[],
  columns: readonly number[],
): LinearOperator<Tensor> {
  const map = onVectors(operator);
  const [height, width] = [dimension(operator.range), dimension(operator.domain)];
  const [atRows, atColumns] = [positions(operator.name, rows, height), positions(operator.name, columns, width)];
  return {
    name: `submatrix of ${operator.name}`,
    domain: full([columns.length], 0),
    range: full([rows.length], 0),
    apply: (v) => map.apply(v.scatterSum(atColumns(), { axis: 0, extent: width })).gather(atRows(), { axis: 0 }),
    applyTranspose: (u) =>
      map.applyTranspose(u.scatterSum(atRows(), { axis: 0, extent: height })).gather(atColumns(), { axis: 0 }),
  };
}

function positions(name: string, list: readonly number[], size: number): () => Tensor {
  const outside = list.find((at) => !Number.isInteger(at) || at < 0 || at >= size);
  if (list.length === 0 || outside !== undefined) {
    throw new ArgumentError(
      `submatrix of ${name}: ${outside === undefined ? "no positions" : `position ${outside}`} among ${size}. Give integers ` +
        `from 0 to ${size - 1}.`,
    );
  }
  return () => tensor(Int32Array.from(list));
}

/** Multiplication element by element with a tree, such as an estimated diagonal. */
export const diagonalOperator = <T>(diagonal: T): LinearOperator<T> =>
  symmetricOperator("diagonal", diagonal, (v) => treeMap((d: Tensor, x: Tensor) => d.mul(x), diagonal, v) as T);
