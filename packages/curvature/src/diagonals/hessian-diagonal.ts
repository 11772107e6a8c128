/**
 * The exact diagonal of the Hessian, for whatever model, from products with it.
 *
 * For a weight that takes part in one contraction s = W a, whose inputs a do not depend on W, second derivatives by its
 * entries are ∂²ℓ/∂w_oi² = Σ_rr' a_ri a_r'i ∂²ℓ/∂s_ro∂s_r'o. So min(positions, inputs) · outputs products from s onwards give
 * the inputs · outputs entries. Everything else takes one product for each of its elements.
 */
import { vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  arange,
  concat,
  equationsBetween,
  eye,
  full,
  identity,
  oneHot,
  placeholder,
  pullback,
  pushForward,
  replayBatched,
  scan,
  type Tensor,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
  UnsupportedError,
} from "@thalweg/tensor";
import { type Block, blocksOf, type EmbeddingBlock, type KroneckerBlock } from "../kronecker/blocks";
import { fromBlockMatrix } from "../kronecker/damping";
import { shifted } from "../kronecker/factors";
import { describeBlocks } from "../kronecker/kronecker-curvature";
import { fromRows, inRows } from "../kronecker/rows";
import { usesOfParameters } from "../kronecker/uses";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs, exampleTargets } from "../problem";

export interface HessianDiagonalOptions {
  /** About how many products are computed at a time. Each takes the memory of the network's activations. Default 64. */
  readonly chunk?: number;
  /** The largest number of products for each example. Default 2^16. */
  readonly limit?: number;
}

/**
 * The diagonal of the Hessian of Σ_n Σ_m ℓ, without ρ: a tree like the parameters. Exact for every model of which examples
 * do not depend on each other.
 *
 * @throws UnsupportedError if more products than `limit` are needed, with their numbers.
 */
export const hessianDiagonal = <P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: HessianDiagonalOptions = {},
): P => diagonalOf("hessianDiagonal", problem, params, batch, options, "sum");

/** The diagonal of the Hessian of each example's Σ_m ℓ: a tree of `[N, …parameter]`. See {@link hessianDiagonal}. */
export const perSampleHessianDiagonal = <P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: HessianDiagonalOptions = {},
): P => diagonalOf("perSampleHessianDiagonal", problem, params, batch, options, "single");

type LayerBlock = KroneckerBlock | EmbeddingBlock;

/** What one loop computes: rows of the diagonal that belong together. */
interface Part {
  readonly name: string;
  /** Absent for a parameter by itself, of which every element is a row. */
  readonly block: LayerBlock | undefined;
  readonly index: number;
  readonly rows: number;
  /** Products for each row. */
  readonly products: number;
}

/** Second derivatives do not differ by it; biases are kept with their weights. */
const blockOptions = { flavour: "expand", maxDenseRows: 0 } as const;

function diagonalOf<P, X>(
  operation: string,
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  { chunk = 64, limit = 2 ** 16 }: HessianDiagonalOptions,
  reduction: "sum" | "single",
): P {
  const examples = batchSize(operation, batch);
  if (!Number.isInteger(chunk) || chunk < 1) {
    throw new ArgumentError(`${operation}: ${chunk} products in a chunk. Give an integer of at least 1.`);
  }
  const { leaves, paths, structure } = treeFlatten<Tensor>(params);
  const parts = partsOf(describeBlocks(problem, params, batch, blockOptions).blocks);
  checkLimit(operation, parts, limit);
  const isSummed = reduction === "sum";

  /** Some rows of a part, for every example or summed over them. */
  const rowsOf = (part: Part, ids: Tensor): Tensor => {
    const one = (example: X, target: Tensor): Tensor => {
      const roots = leaves.map(identity);
      const outputs = exampleOutputs(problem, treeUnflatten(structure, roots) as P, example);
      const targets = exampleTargets(problem.loss, outputs, target);
      const value = problem.loss.value(outputs, targets).sum();
      const { block, index } = part;
      if (block === undefined) return elementRows(value, roots[index] as Tensor, ids);
      const found = usesOfParameters(roots, treeLeaves<Tensor>(example), [outputs]);
      const described = roots.map(({ shape }, position) => ({ path: paths[position] as TreePath, shape }));
      const blocks = blocksOf(found, described, { ...blockOptions, terms: outputs.shape[0] as number });
      const own = blocks.find(({ name }) => name === block.name) as LayerBlock;
      return layerRows(value, own, ids);
    };
    const all = vmap(one)(batch.inputs, batch.targets);
    return isSummed ? all.sum({ axis: 0 }) : all;
  };

  const results: Tensor[] = leaves.map((leaf) => leaf);
  const leading = isSummed ? [] : [examples];
  for (const part of parts) {
    const rows = inChunks(part, chunk, leading.length, (ids) => rowsOf(part, ids));
    const { block, index } = part;
    if (block === undefined) results[index] = rows.reshape([...leading, ...(leaves[index] as Tensor).shape]);
    else putRows(block, rows, leading.length === 1, results, leaves);
  }
  return treeUnflatten(structure, results) as P;
}

/** Layers by the rows of their weights; whatever is used otherwise by its elements. */
function partsOf(blocks: readonly Block[]): Part[] {
  return blocks.flatMap((block): Part[] => {
    const alone = ({ name, index, shape }: KroneckerBlock["weight"]): Part => ({
      name,
      block: undefined,
      index,
      rows: shape.reduce((size, extent) => size * extent, 1),
      products: 1,
    });
    if (block.kind === "diagonal") return [alone(block.parameter)];
    if (block.kind === "unitwise") return [alone(block.scale), alone(block.shift)];
    const bias = block.kind === "kronecker" ? block.bias : undefined;
    // Of several uses the inputs of one may depend on another one.
    if (block.taps.length > 1 || block.remarks.length > 0) {
      return [alone(block.weight), ...(bias === undefined ? [] : [alone(bias)])];
    }
    const { name, weight, layout, positions } = block;
    const products = Math.min(positions, layout.ins + (bias === undefined ? 0 : 1));
    return [{ name, block, index: weight.index, rows: layout.groups * layout.outs, products }];
  });
}

function checkLimit(operation: string, parts: readonly Part[], limit: number): void {
  const total = parts.reduce((sum, { rows, products }) => sum + rows * products, 0);
  if (total <= limit) return;
  const largest = parts
    .map(({ name, rows, products }) => ({ name, count: rows * products }))
    .sort((a, b) => b.count - a.count)
    .slice(0, 3)
    .map(({ name, count }) => `${count} for ${name}`);
  throw new UnsupportedError(
    `${operation}: ${total} products with the Hessian for each example (${largest.join(", ")}) are more than ${limit}. ` +
      "Take ggnDiagonal, or estimateDiagonal of the hessianOperator, or raise limit.",
  );
}

/** All rows of a part: `[…leading, rows, …]` from a function of some rows' numbers. */
function inChunks({ rows, products }: Part, chunk: number, leading: number, of: (ids: Tensor) => Tensor): Tensor {
  const width = Math.min(rows, Math.max(1, Math.floor(chunk / products)));
  const count = Math.ceil(rows / width);
  if (count === 1) return of(arange(rows, { dtype: "i32" }));
  const numbers = arange(count * width, { dtype: "i32" }).reshape([count, width]);
  const [, stacked] = scan((carry: null, ids: Tensor) => [carry, of(ids)] as const, null, numbers);
  const inOrder = stacked.moveAxis(0, leading);
  const before = inOrder.shape.slice(0, leading);
  const merged = inOrder.reshape([...before, count * width, ...inOrder.shape.slice(leading + 2)]);
  return merged.slice([], [...before, rows]);
}

/** Second derivatives by the elements `ids` of a tensor: `[ids]`. */
function elementRows(value: Tensor, root: Tensor, ids: Tensor): Tensor {
  const units = oneHot(ids, root.size);
  const products = secondDerivative(value, root)(units.reshape([units.shape[0] as number, ...root.shape]));
  return products.reshape(units.shape).mul(units).sum({ axis: 1 });
}

/**
 * The rows `ids` of the diagonal of a layer's block, `[ids, in]`; a bias is the last input.
 *
 * Letters: c rows, that is pairs of a group g and an output o; r, p positions; i inputs.
 */
function layerRows(value: Tensor, block: LayerBlock, ids: Tensor): Tensor {
  const { groups, outs } = block.layout;
  const [tap] = block.taps as readonly [KroneckerBlock["taps"][0]];
  const { output, result } = tap;
  const count = ids.size;
  const a = inputRows(block);
  const [, positions, ins] = a.shape as [number, number, number];
  const own = oneHot(ids, groups * outs).reshape([count, 1, groups, 1, outs]);
  // The inputs of the row's group, [c, r, i].
  const mine = own.sum({ axis: -1 }).reshape([count, groups]).dot(a);
  const along = positions <= ins ? eye(positions).expandDims(0) : mine.transpose();
  const directions = own.mul(along.reshape([along.shape[0] as number, -1, 1, positions, 1]));
  const flat = directions.reshape([-1, groups, positions, outs]);
  const products = secondDerivative(value, output)(fromRows(flat, result, output));
  const within = inRows(products, shifted(result, 1), 1)
    .reshape(directions.shape)
    .mul(own)
    .sum({ axis: [2, 4] });
  return positions <= ins
    ? within.matmul(mine).mul(mine).sum({ axis: 1 })
    : within.mul(mine.transpose()).sum({ axis: 2 });
}

/** The inputs of a layer with one use for one example: `[groups, positions, in]`. */
function inputRows(block: LayerBlock): Tensor {
  if (block.kind === "embedding") {
    const [{ indices }] = block.taps as readonly [EmbeddingBlock["taps"][0]];
    return oneHot(indices.cast("i32").flatten(), block.layout.ins).expandDims(0);
  }
  const [{ activations, input }] = block.taps as readonly [KroneckerBlock["taps"][0]];
  const rows = inRows(activations, input, 0);
  if (block.bias === undefined) return rows;
  return concat([rows, full([rows.shape[0] as number, rows.shape[1] as number, 1], 1)], { axis: 2 });
}

/** The Hessian of a scalar by one tensor of its graph, others constant, as a map of directions `[k, …tensor]`. */
function secondDerivative(value: Tensor, at: Tensor): (directions: Tensor) => Tensor {
  const [gradient] = pullback([at], [value])([value.onesLike()]);
  if (!gradient) return (directions) => directions.zerosLike();
  const direction = placeholder(at.shape, at.dtype);
  const [product] = pushForward([at], [gradient], [direction]);
  if (!product) return (directions) => directions.zerosLike();
  const equations = equationsBetween([direction], [product]);
  return (directions) => {
    const size = directions.shape[0] as number;
    return replayBatched(equations, [direction], [product], [directions], size)[0] ?? directions.zerosLike();
  };
}

/** Puts rows `[…N, groups · out, in]` into the weight and bias of a block. */
function putRows(
  block: LayerBlock,
  rows: Tensor,
  isBatched: boolean,
  results: Tensor[],
  leaves: readonly Tensor[],
): void {
  const { groups, outs } = block.layout;
  const place = (matrix: Tensor): Tensor[] => {
    const own = [...leaves];
    fromBlockMatrix(block, matrix.reshape([groups, outs, -1]), own);
    return touched(block).map((index) => own[index] as Tensor);
  };
  const placed = isBatched ? vmap(place)(rows) : place(rows);
  touched(block).forEach((index, position) => {
    results[index] = placed[position] as Tensor;
  });
}

const touched = (block: LayerBlock): number[] =>
  block.kind === "kronecker" && block.bias !== undefined
    ? [block.weight.index, block.bias.index]
    : [block.weight.index];
