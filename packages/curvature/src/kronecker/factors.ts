/** Kronecker factors and their kin from what a pass over a batch collected. */
import { concat, eye, full, sizeOf, type Tensor } from "@thalweg/tensor";
import type { Block, EmbeddingBlock, KroneckerBlock, LinearTap, LookupTap, TapAxes, UnitwiseBlock } from "./blocks";
import type { Collected, CollectedTap } from "./statistics";

/**
 * Factors of a layer: its block of the curvature is B ⊗ A for gradients `[groups, out, in]` flattened row by row, in the
 * order of the parameter's own axes. A bias is the last input.
 */
export type MatrixFactors = {
  /** `[groups, in, in]`, without groups `[in, in]`; of an embedding `[rows]`, a diagonal, where tokens are counted one by one. */
  readonly a: Tensor;
  /** `[groups, out, out]`, or `[out, out]`. */
  readonly b: Tensor;
};

/** The 2 × 2 blocks of the features of a normalization, each tensor of the shape of its scale. */
export type UnitwiseFactors = { readonly scale: Tensor; readonly cross: Tensor; readonly shift: Tensor };

export type DiagonalFactors = { readonly diagonal: Tensor };

export type BlockFactors = MatrixFactors | UnitwiseFactors | DiagonalFactors;

/** By the names of the blocks. */
export type Factors = Readonly<Record<string, BlockFactors>>;

export interface FactorOptions {
  /**
   * What the reduce flavour does to the R positions of an example: the mean of inputs with the sum of gradients, which is
   * exact where the model averages over positions, or the sum of inputs with the mean of gradients, exact where it sums
   * and R varies.
   */
  readonly reduceNormalization: "meanInput" | "sumInput";
  /** Is B the identity? */
  readonly forwardOnly: boolean;
}

export function factorsOf(collected: Collected, options: FactorOptions): Factors {
  const entries = collected.blocks.map((block) => [block.name, blockFactors(block, collected, options)] as const);
  return Object.fromEntries(entries);
}

function blockFactors(block: Block, collected: Collected, options: FactorOptions): BlockFactors {
  switch (block.kind) {
    case "kronecker":
      return kroneckerFactors(block, collected, options);
    case "embedding":
      return embeddingFactors(block, collected, options);
    case "unitwise":
      return unitwiseFactors(block, collected);
    case "diagonal": {
      const { index } = block.parameter;
      return { diagonal: sumOfProducts(collected.vectorGradients(index), collected.vectorGradients(index), collected) };
    }
  }
}

/** ρ Σ over examples and vectors. */
const sumOfProducts = (p: Tensor, q: Tensor, { scale }: Collected): Tensor =>
  p
    .mul(q)
    .sum({ axis: [0, 1] })
    .mul(scale);

function unitwiseFactors({ scale, shift }: UnitwiseBlock, collected: Collected): UnitwiseFactors {
  const [p, q] = [scale, shift].map(({ index }) => collected.vectorGradients(index)) as [Tensor, Tensor];
  return {
    scale: sumOfProducts(p, p, collected),
    cross: sumOfProducts(p, q, collected),
    shift: sumOfProducts(q, q, collected),
  };
}

function kroneckerFactors(block: KroneckerBlock, collected: Collected, options: FactorOptions): MatrixFactors {
  const { layout, flavour } = block;
  const uses = usesOf(block, collected);
  const counts = countsOf(block, collected);
  // With one position per example the flavours are one, and nothing has to be summed before.
  const isAlone = block.positions === 1 && collected.mask === undefined;
  const parts =
    flavour === "expand" || isAlone
      ? { a: expandA(block, uses, counts, collected), b: expandB(uses, collected) }
      : reduceFactors(block, uses, counts, collected, options);
  const b = options.forwardOnly ? identityRows(layout.groups, layout.outs) : parts.b;
  return layout.groups === 1 ? { a: withoutGroups(parts.a), b: withoutGroups(b) } : { a: parts.a, b };
}

const withoutGroups = (matrix: Tensor): Tensor => matrix.reshape(matrix.shape.slice(1));

const identityRows = (groups: number, size: number): Tensor => eye(size).expand([groups, size, size]);

/** A tap with axes that count the examples' axis, and for gradients the axis of the vectors. */
interface BatchedUse {
  readonly tap: CollectedTap;
  readonly input: TapAxes;
  readonly result: TapAxes;
  /** f32 of the inputs' shape with 1 for features and groups: 1 where a position is real. */
  readonly mask: Tensor | undefined;
}

export const shifted = ({ groups, features, shared }: TapAxes, by: number): TapAxes => ({
  groups: groups.map((axis) => axis + by),
  features: features.map((axis) => axis + by),
  shared: shared.map((axis) => axis + by),
});

function usesOf(block: KroneckerBlock, collected: Collected): BatchedUse[] {
  return collected.taps(block).map((tap, index) => {
    const { input, result } = block.taps[index] as LinearTap;
    const own = shifted(input, 1);
    return { tap, input: own, result: shifted(result, 2), mask: maskOf(tap.inputs, own.shared, collected) };
  });
}

/** The mask where it is meant for positions of these extents, with 1 in place of all other axes but the examples'. */
export function maskOf(inputs: Tensor, shared: readonly number[], { mask }: Collected): Tensor | undefined {
  if (mask === undefined) return undefined;
  const extents = shared.map((axis) => inputs.shape[axis] as number);
  const positions = mask.shape.slice(1);
  const real = (list: readonly number[]) => String(list.filter((extent) => extent !== 1));
  if (real(extents) !== real(positions)) return undefined;
  const shape = inputs.shape.map((extent, axis) => (axis === 0 || shared.includes(axis) ? extent : 1));
  return mask.cast("f32").reshape(shape);
}

/** Real positions of each example, over all uses: `[N]`. */
function countsOf(block: KroneckerBlock | EmbeddingBlock, collected: Collected): Tensor {
  const counts = collected.taps(block).map((tap, index) => {
    const own = block.taps[index] as LinearTap | LookupTap;
    const shared = "input" in own ? shifted(own.input, 1).shared : tap.inputs.shape.slice(1).map((_, axis) => axis + 1);
    const mask = maskOf(tap.inputs, shared, collected);
    const all = sizeOf(shared.map((axis) => tap.inputs.shape[axis] as number));
    return mask === undefined
      ? full([collected.examples], all)
      : mask.reshape([collected.examples, -1]).sum({ axis: 1 });
  });
  return total(counts);
}

const total = (terms: readonly Tensor[]): Tensor => terms.reduce((sum, term) => sum.add(term));

/** Σ over examples (and vectors) and positions of x xᵀ: `[groups, features, features]`. */
function gram(x: Tensor, { groups, features, shared }: TapAxes, leading: number): Tensor {
  const summed = [...Array.from({ length: leading }, (_, axis) => axis), ...shared];
  const product = x.dot(x, { batch: [groups, groups], contract: [summed, summed] });
  const ascending = [...features].sort((p, q) => p - q);
  const order = features.map((axis) => groups.length + ascending.indexOf(axis));
  const size = sizeOf(features.map((axis) => x.shape[axis] as number));
  return product
    .permute([...groups.map((_, index) => index), ...order, ...order.map((axis) => axis + features.length)])
    .reshape([sizeOf(groups.map((axis) => x.shape[axis] as number)), size, size]);
}

/** Sums the positions: `[…leading, groups, features]`. */
function sumPositions(x: Tensor, { groups, features, shared }: TapAxes, leading: number): Tensor {
  const kept = [...Array.from({ length: leading }, (_, axis) => axis), ...groups, ...features];
  const summed = shared.length === 0 ? x : x.sum({ axis: [...shared] });
  const place = (axis: number) => axis - shared.filter((own) => own < axis).length;
  return summed
    .permute(kept.map(place))
    .reshape([
      ...x.shape.slice(0, leading),
      sizeOf(groups.map((axis) => x.shape[axis] as number)),
      sizeOf(features.map((axis) => x.shape[axis] as number)),
    ]);
}

/** A mask is 0 or 1, its own square. */
const masked = ({ tap: { inputs }, mask }: BatchedUse): Tensor => (mask === undefined ? inputs : inputs.mul(mask));

function expandA(block: KroneckerBlock, uses: readonly BatchedUse[], counts: Tensor, { examples }: Collected): Tensor {
  const count = counts.sum();
  if (block.bias !== undefined && isShort(block, uses, examples)) {
    return total(uses.map((use) => gram(withOnes(use), use.input, 1))).div(count);
  }
  const products = total(uses.map((use) => gram(masked(use), use.input, 1))).div(count);
  if (block.bias === undefined) return products;
  const means = total(uses.map((use) => sumPositions(masked(use), use.input, 1).sum({ axis: 0 }))).div(count);
  return examples === 0 ? products : bordered(products, means);
}

/**
 * Is A larger than what it is made of, and are its inputs one axis? Then an input that is always 1 goes through the product:
 * writing A once more costs more than a product with rows of an odd length.
 */
const isShort = ({ layout, positions }: KroneckerBlock, uses: readonly BatchedUse[], examples: number): boolean =>
  examples * positions <= layout.ins && uses.every(({ input }) => input.features.length === 1);

/**
 * Inputs with a last one that is 1 wherever a position is real. They are stored in rows of a multiple of four, of which kernels
 * load four neighbours at once.
 */
function withOnes(use: BatchedUse): Tensor {
  const inputs = masked(use);
  const axis = use.input.features[0] as number;
  const alike = (count: number): number[] => inputs.shape.map((extent, own) => (own === axis ? count : extent));
  const extent = (inputs.shape[axis] as number) + 1;
  const ones = use.mask === undefined ? full(alike(1), 1) : use.mask.expand(alike(1));
  const rest = full(alike((4 - (extent % 4)) % 4), 0);
  return concat([inputs, ones, rest], { axis }).slice([], alike(extent));
}

/** The matrix with the factor of an input that is always 1 as its last row and column. */
function bordered(products: Tensor, means: Tensor): Tensor {
  const [groups] = means.shape as [number];
  const right = concat([products, means.expandDims(-1)], { axis: 2 });
  const below = concat([means, full([groups, 1], 1)], { axis: 1 }).expandDims(1);
  return concat([right, below], { axis: 1 });
}

const expandB = (uses: readonly BatchedUse[], { scale }: Collected): Tensor =>
  total(uses.map(({ tap, result }) => gram(tap.gradients, result, 2))).mul(scale);

/** A trace this small, relative to what the sums were made of, is rounding: see {@link reduceFactors}. */
const roundedToZero = 1e-10;

/**
 * One input and one gradient per example. Where the gradients of the positions cancel in every example, as those of keys
 * do in softmax attention, what is left of B is rounding and is set to 0.
 */
function reduceFactors(
  block: KroneckerBlock,
  uses: readonly BatchedUse[],
  counts: Tensor,
  { scale, examples }: Collected,
  { reduceNormalization }: FactorOptions,
): MatrixFactors {
  const perExample = counts.reshape([examples, 1, 1]);
  const sums = total(uses.map((use) => sumPositions(masked(use), use.input, 1)));
  const withBias =
    block.bias === undefined
      ? sums
      : concat([sums, perExample.expand([examples, sums.shape[1] as number, 1])], { axis: 2 });
  const isMean = reduceNormalization === "meanInput";
  const inputs = isMean ? withBias.div(perExample) : withBias;
  const sent = total(uses.map(({ tap, result }) => sumPositions(tap.gradients, result, 2)));
  const gradients = isMean ? sent : sent.div(perExample.expandDims(1));
  const product = (x: Tensor, contract: readonly number[], batch: number): Tensor =>
    x.dot(x, { batch: [[batch], [batch]], contract: [contract, contract] });
  const b = product(gradients, [0, 1], 2);
  // In the shape of the gradients' sums, so that one pass over the gradients makes both.
  const size = total(uses.map(({ tap, result }) => sumPositions(tap.gradients.square(), result, 2))).sum();
  const trace = gradients.square().sum();
  return {
    a: product(inputs, [0], 1).div(examples),
    // In this order, so that what is not finite is not taken for zero.
    b: trace.lessEqual(size.mul(roundedToZero)).where(0, b).mul(scale),
  };
}

/** Tokens are one-hot inputs: A is the diagonal of their frequencies, or how often two are in one example. */
function embeddingFactors(block: EmbeddingBlock, collected: Collected, options: FactorOptions): MatrixFactors {
  const { layout, flavour } = block;
  const { examples, scale } = collected;
  const taps = collected.taps(block);
  const counts = countsOf(block, collected);
  const frequencies = total(
    taps.map(({ inputs }) => {
      const shared = inputs.shape.slice(1).map((_, axis) => axis + 1);
      const weight = maskOf(inputs, shared, collected) ?? full(inputs.shape, 1);
      const rows = inputs.cast("i32").reshape([examples, -1]);
      return oneHotSums(rows, weight.reshape(rows.shape), layout.ins);
    }),
  );
  const sent = taps.map(({ gradients }, index) => ({
    gradients,
    axes: shifted((block.taps[index] as LookupTap).result, 2),
  }));
  const isReduced = flavour === "reduce";
  const summed = total(sent.map(({ gradients, axes }) => sumPositions(gradients, axes, 2))).reshape([-1, layout.outs]);
  const b = isReduced
    ? summed.dot(summed, { contract: [[0], [0]] })
    : withoutGroups(total(sent.map(({ gradients, axes }) => gram(gradients, axes, 2))));
  const means = frequencies.div(counts.expandDims(1));
  const a = block.isDense
    ? means.dot(means, { contract: [[0], [0]] }).div(examples)
    : frequencies.sum({ axis: 0 }).div(counts.sum());
  return { a, b: options.forwardOnly ? eye(layout.outs) : b.mul(scale) };
}

/** How often each of `count` rows is taken by each example: `[N, positions]` to `[N, count]`. */
function oneHotSums(rows: Tensor, weights: Tensor, count: number): Tensor {
  const [examples, positions] = rows.shape as [number, number];
  const shape = [examples, positions, count];
  const hit = full(shape, 0, { dtype: "i32" }).iotaLike(2).equal(rows.expandDims(2).expand(shape));
  return hit.where(weights.expandDims(2).expand(shape), 0).sum({ axis: 1 });
}
