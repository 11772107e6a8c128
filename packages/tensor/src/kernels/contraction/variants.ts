/**
 * The variants in which a contraction can be computed, and which of them suits a problem.
 *
 * A variant is plain data: it can be stored as JSON, compared by its JSON text, and forced by
 * {@link CompileTarget.chooseContraction}. Every variant computes the same sums of products over the same views, with
 * the same epilogue; results differ by rounding only, because the order of the terms differs.
 */
import { smallFlops } from "../../compiler/pack";
import type { CompileTarget } from "../../compiler/target";
import type { DType } from "../../dtype";

/** Along which of its coordinates four neighbours of an operand lie together in memory, at multiples of four. */
export interface OperandVectors {
  readonly contracted: boolean;
  readonly free: boolean;
}

/**
 * What the choice of a variant depends on: a batch of products `[rows, depth]` times `[depth, columns]`. Plain data;
 * equal problems (or those of one class, such as equal powers of two) profit from equal variants.
 */
export interface ContractionProblem {
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  /** Terms of every sum. */
  readonly depth: number;
  /** Of both operands and of the result; sums of halves are f32. */
  readonly dtype: DType;
  readonly a: OperandVectors;
  readonly b: OperandVectors;
  /** An operand is found by more than strides: convolutions, padding, positions that are data. */
  readonly gathers: boolean;
  /** Other results are computed from those of the contraction before they are stored. */
  readonly epilogue: boolean;
  /** An operand with itself: tiles below the diagonal are not computed. */
  readonly isSymmetric: boolean;
}

/**
 * Tiles in registers, operands straight from memory: for CPUs, which pay for barriers, and for products that are too
 * small for anything else. One invocation computes `rows` times 4 results.
 */
export interface RegisterVariant {
  readonly kind: "registers";
  /** At most so many; fewer where the text would become long. */
  readonly rows: number;
  /** Terms per iteration, if they divide the innermost contracted extent. */
  readonly unroll: 1 | 4;
}

/**
 * Tiles of both operands in workgroup memory: `groupRows · groupColumns` invocations with `rows · columns` results each,
 * which walk over the contraction in tiles of `depth` terms.
 */
export interface WorkgroupVariant {
  readonly kind: "workgroup";
  readonly groupRows: 4 | 8 | 16;
  readonly groupColumns: 4 | 8 | 16;
  readonly rows: 4 | 8;
  readonly columns: 4 | 8;
  readonly depth: 8 | 16 | 32;
  /** Tiles below each other that workgroups take before they move on to the right, for the sake of caches. */
  readonly band: 1 | 4;
  /** Load the next tile into registers while the present one is multiplied. */
  readonly prefetch: boolean;
}

/**
 * For at most {@link mostShort} rows or columns: `slices` invocations share the terms of the same results and add up their
 * parts in workgroup memory; `units` such groups lie along the long free coordinate.
 */
export interface SkinnyVariant {
  readonly kind: "skinny";
  /** A power of two. */
  readonly slices: number;
  readonly units: number;
}

export type ContractionVariant = RegisterVariant | WorkgroupVariant | SkinnyVariant;

const mostShort = 16;

/** What an invocation of a skinny variant does. */
export interface SkinnyShape {
  /** The operand with many rows or columns. */
  readonly long: "a" | "b";
  /** The coordinate of the long operand along which neighbouring invocations take neighbours. */
  readonly along: "contracted" | "free";
  /** Elements of the long operand that are loaded at once. */
  readonly width: 1 | 4;
  /** Long positions of one invocation. */
  readonly each: number;
  /** Sums of one invocation. */
  readonly partials: number;
}

export function skinnyShape(
  { units }: SkinnyVariant,
  problem: Pick<ContractionProblem, "rows" | "columns" | "a" | "b">,
): SkinnyShape {
  const { rows, columns } = problem;
  const long = rows >= columns ? "a" : "b";
  const [longExtent, short] = [Math.max(rows, columns), Math.min(rows, columns)];
  const vectors = problem[long];
  const along = vectors.free && !vectors.contracted ? "free" : "contracted";
  const width = vectors[along] ? 4 : 1;
  if (along === "free") return { long, along, width, each: 4, partials: 4 * short };
  const room = [4, 2].find((own) => own * short <= 8 && own * units <= longExtent);
  const each = room ?? 1;
  return { long, along, width, each, partials: each * short };
}

/** Results of a workgroup. */
export const tileOf = ({ groupRows, groupColumns, rows, columns }: WorkgroupVariant) => ({
  rows: groupRows * rows,
  columns: groupColumns * columns,
});

/** Tiles of so many results that are computed, of one matrix of the batch. */
function tilesOf(
  { rows, columns, isSymmetric }: Pick<ContractionProblem, "rows" | "columns" | "isSymmetric">,
  tile: { readonly rows: number; readonly columns: number },
): number {
  const [along, down] = [Math.ceil(columns / tile.columns), Math.ceil(rows / tile.rows)];
  if (!isSymmetric) return along * down;
  // A row of tiles begins with the one that has the diagonal.
  return Array.from({ length: down }, (_, row) =>
    Math.max(0, along - Math.floor((row * tile.rows) / tile.columns)),
  ).reduce((sum, own) => sum + own, 0);
}

/** How the tile of an operand lies in workgroup memory: rows of quads. */
export interface StagedLayout {
  /** The coordinate along which four elements are one quad; the other one counts the rows. */
  readonly quads: "contracted" | "free";
  readonly rows: number;
  /** Quads from one row to the next. */
  readonly stride: number;
}

const odd = (count: number): number => (count % 2 === 0 ? count + 1 : count);

/** @param tile elements of the tile along the free coordinate. */
export function stagedLayout(side: "a" | "b", vectors: OperandVectors, tile: number, depth: number): StagedLayout {
  // Where both ways are open: a as a row of terms, b as a row of columns, so that each is read as it is used.
  const along = side === "a" ? (["contracted", "free"] as const) : (["free", "contracted"] as const);
  const found = along.find((way) => vectors[way]);
  if (found === "contracted") return { quads: found, rows: tile, stride: side === "a" ? depth / 4 : odd(depth / 4) };
  return { quads: "free", rows: depth, stride: found === undefined ? odd(tile / 4) : tile / 4 };
}

/** Bytes of workgroup memory, at four bytes per element. */
function workgroupBytes(variant: WorkgroupVariant, { a, b }: ContractionProblem): number {
  const { rows, columns } = tileOf(variant);
  const layouts = [stagedLayout("a", a, rows, variant.depth), stagedLayout("b", b, columns, variant.depth)];
  return layouts.reduce((sum, layout) => sum + 16 * layout.rows * layout.stride, 0);
}

/** Can the target compute the problem in this variant? */
export function isValidVariant(
  variant: ContractionVariant,
  problem: ContractionProblem,
  target: CompileTarget,
): boolean {
  switch (variant.kind) {
    case "registers":
      return true;
    case "workgroup":
      return (
        invocationsOf(variant) <= target.maxInvocationsPerWorkgroup &&
        workgroupBytes(variant, problem) <= target.maxWorkgroupBytes
      );
    case "skinny":
      return (
        Math.min(problem.rows, problem.columns) <= mostShort &&
        invocationsOf(variant) <= target.maxInvocationsPerWorkgroup &&
        4 * variant.slices * variant.units * skinnyShape(variant, problem).partials <= target.maxWorkgroupBytes
      );
  }
}

/**
 * The variant in which a problem is computed: what the target forces, or the first of {@link contractionVariants}. A
 * forced variant that the target cannot run, such as one from a table made on another device, is not used.
 */
export function chooseVariant(problem: ContractionProblem, target: CompileTarget): ContractionVariant {
  const forced = target.chooseContraction?.(problem);
  if (forced !== undefined && isValidVariant(forced, problem, target)) return forced;
  return contractionVariants(problem, target)[0] as ContractionVariant;
}

/**
 * Every variant that is valid for a problem on a target and promising, the heuristic's choice first, at most
 * {@link mostVariants}: what a tuner tries. On CPUs, which run barriers as loops around every part between them, tiles in
 * registers only.
 */
export function contractionVariants(problem: ContractionProblem, target: CompileTarget): ContractionVariant[] {
  if (target.isSoftware) return registerVariants(problem, target);
  const tiles = workgroupTiles.map((own): ContractionVariant => ({ ...own, band: bandFor(own, problem) }));
  const valid = [...tiles, ...skinnyVariants].filter((variant) => isValidVariant(variant, problem, target));
  const registers = registerVariants(problem, target).filter(({ unroll }) => unroll === 4);
  const ranked = byCost([...valid, ...registers], problem, target);
  const best = ranked.find((variant) => variant.kind === "workgroup");
  const relatives = best === undefined ? [] : relativesOf(best).filter((own) => isValidVariant(own, problem, target));
  const kept = ranked.slice(0, mostVariants - relatives.length);
  const { batch, rows, columns, depth } = problem;
  const isSmall = 2 * batch * rows * columns * depth <= smallFlops;
  const first = isSmall ? kept.filter((variant) => canJoin(variant, target)) : [];
  return [...first, ...kept.filter((variant) => !first.includes(variant)), ...relatives];
}

/** Operations below which a product's kernel is chosen by how fast it compiles on CPUs: it runs in no time. */
const smallWork = 2 ** 23;

const mostVariants = 12;

/**
 * CPUs with vectors of eight or more like tall tiles, and short ones where there is little to do: their drivers need
 * milliseconds for every load. Measured on Mesa's llvmpipe; SwiftShader (vectors of four) prefers what GPUs do.
 */
function registerVariants(problem: ContractionProblem, { likesTallTiles }: CompileTarget): RegisterVariant[] {
  const variant = (rows: number, unroll: 1 | 4): RegisterVariant => ({ kind: "registers", rows, unroll });
  const all = [variant(8, 4), variant(16, 1), variant(8, 1), variant(4, 4), variant(4, 1)];
  const { batch, rows, columns, depth } = problem;
  const isSmall = 2 * batch * rows * columns * depth < smallWork;
  const first = !likesTallTiles ? variant(8, 4) : isSmall ? variant(4, 1) : variant(16, 1);
  return [first, ...all.filter((other) => other.rows !== first.rows || other.unroll !== first.unroll)];
}

const tile = (
  groupRows: WorkgroupVariant["groupRows"],
  groupColumns: WorkgroupVariant["groupColumns"],
  rows: WorkgroupVariant["rows"],
  columns: WorkgroupVariant["columns"],
): WorkgroupVariant => {
  // Large tiles in registers leave room for few workgroups on a core: nothing else hides their loads.
  const isLarge = rows * columns === 64;
  return {
    kind: "workgroup",
    groupRows,
    groupColumns,
    rows,
    columns,
    depth: isLarge ? 8 : 16,
    band: 1,
    prefetch: isLarge,
  };
};

/** Every load of a tile is a whole number of quads per invocation in all of these. */
const workgroupTiles: readonly WorkgroupVariant[] = [
  tile(16, 16, 8, 8), // 128 x 128
  tile(16, 8, 8, 8), // 128 x 64
  tile(8, 16, 8, 8), // 64 x 128
  tile(8, 8, 8, 8), // 64 x 64 by 64 invocations
  tile(16, 16, 4, 4), // 64 x 64 by 256
  tile(8, 8, 8, 4), // 64 x 32
  tile(8, 8, 4, 8), // 32 x 64
  tile(8, 8, 4, 4), // 32 x 32
  tile(4, 16, 4, 4), // 16 x 64
  tile(16, 4, 4, 4), // 64 x 16
];

/** Caches of GPUs hold a few MiB: beyond that, workgroups that run together should share rows and columns. */
function bandFor(variant: WorkgroupVariant, { rows, columns, depth }: ContractionProblem): 1 | 4 {
  const size = tileOf(variant);
  const isLarge = depth * columns >= 2 ** 18;
  return isLarge && Math.ceil(rows / size.rows) % 4 === 0 ? 4 : 1;
}

/** Can a kernel of this variant share a dispatch with small reductions, which have workgroups of the largest size? */
const canJoin = (variant: ContractionVariant, { lanesPerRow }: CompileTarget): boolean =>
  variant.kind === "registers" || invocationsOf(variant) === lanesPerRow;

const invocationsOf = (variant: WorkgroupVariant | SkinnyVariant): number =>
  variant.kind === "skinny" ? variant.slices * variant.units : variant.groupRows * variant.groupColumns;

/** The same tile with another depth, with and without prefetching: differences that only a measurement knows. */
function relativesOf(variant: WorkgroupVariant): WorkgroupVariant[] {
  const { depth, prefetch } = variant;
  const deeper = depth === 8 ? 16 : 32;
  return [
    { ...variant, prefetch: !prefetch },
    { ...variant, depth: deeper },
    { ...variant, depth: deeper, prefetch: !prefetch },
  ];
}

const skinnyVariants: readonly SkinnyVariant[] = [
  { kind: "skinny", slices: 16, units: 16 },
  { kind: "skinny", slices: 16, units: 4 },
  { kind: "skinny", slices: 64, units: 4 },
  { kind: "skinny", slices: 64, units: 1 },
  { kind: "skinny", slices: 256, units: 1 },
];

const byCost = (
  variants: readonly ContractionVariant[],
  problem: ContractionProblem,
  target: CompileTarget,
): ContractionVariant[] =>
  variants
    .map((variant) => ({ variant, cost: variantCost(variant, problem, target) }))
    .sort((x, y) => x.cost - y.cost)
    .map(({ variant }) => variant);

/**
 * An estimate of the time, in multiply-adds of the whole machine: what the tiles compute, ragged edges included, times
 * the cost of each multiply-add, divided by the part of the machine that the grid keeps busy.
 *
 * - A multiply-add costs more than its own issue where its operands come slower than it does. Workgroup memory delivers
 *   about one element for four multiply-adds: a tile of 8 x 8 (4 per element) runs at full rate, 4 x 4 (2) at half.
 * - Every element of a tile is loaded, converted and staged once per tile: work that the tile's extent divides. Single
 *   elements cost more than quads; gathered ones cost a few divisions and tests each.
 * - The grid is taken to fill the machine with `target.invocations` invocations, in workgroups of about 128.
 */
function variantCost(variant: ContractionVariant, problem: ContractionProblem, target: CompileTarget): number {
  const { rows, columns, depth, batch, a, b, gathers } = problem;
  const loadCost = ({ contracted, free }: OperandVectors) => (contracted || free ? 1 : 2.5) * (gathers ? 2 : 1);
  const busy = (workgroups: number, invocations: number) =>
    Math.min(1, (workgroups * invocations) / target.invocations, workgroups / (target.invocations / 128));
  if (variant.kind === "registers") {
    const own = Math.min(rows, variant.rows);
    const tiles = tilesOf(problem, { rows: own, columns: 4 }) * batch;
    // Straight from memory, whose caches deliver less than workgroup memory does.
    const each = 2 + (2 * loadCost(a)) / 4 + (2 * loadCost(b)) / own;
    return (tiles * own * 4 * depth * each) / busy(tiles / 64, 64);
  }
  if (variant.kind === "skinny") {
    const { long, along, width, each: positions, partials } = skinnyShape(variant, problem);
    const invocations = variant.slices * variant.units;
    const short = Math.min(rows, columns);
    const workgroups = Math.ceil(Math.max(rows, columns) / (variant.units * positions)) * batch;
    const perStep = along === "contracted" ? width : 1;
    const steps = Math.ceil(depth / perStep / variant.slices);
    const each = 2 + (4 * loadCost(problem[long])) / short;
    const tree = 8 * partials * Math.log2(variant.slices) + 64;
    return (workgroups * invocations * (steps * perStep * partials * each + tree)) / busy(workgroups, invocations);
  }
  const size = tileOf(variant);
  const workgroups = tilesOf(problem, size) * batch;
  const terms = Math.ceil(depth / variant.depth) * variant.depth;
  const perElement = (variant.rows * variant.columns) / (variant.rows + variant.columns);
  const each = Math.max(1, 4 / perElement) + (4 * loadCost(a)) / size.columns + (4 * loadCost(b)) / size.rows;
  return (
    (workgroups * size.rows * size.columns * terms * each) / busy(workgroups, variant.groupRows * variant.groupColumns)
  );
}

/** Multiply-adds in the time in which one element of a partial result is written and read again. */
const partialCost = 32;
/** Multiply-adds in the time that one more kernel takes. */
const kernelCost = 3e7;
/** Parts at most: each is a serial term of the reduction that follows. */
const mostParts = 128;
/** A split must promise this much, because estimates are rough and every split is one more kernel. */
const splitGain = 1.5;

/**
 * In how many parts the terms of a contraction should be summed, as so many contractions of a batch: 1 where the best
 * tile fills the machine already. Weight gradients have few results and many terms; they live on this.
 *
 * @param most parts at most, so that none is too short.
 */
export function splitFor(problem: ContractionProblem, most: number, target: CompileTarget): number {
  const cost = (parts: number): number => {
    const split = { ...problem, batch: problem.batch * parts, depth: Math.ceil(problem.depth / parts) };
    const [best] = contractionVariants(split, target) as [ContractionVariant];
    return variantCost(best, split, target);
  };
  const whole = cost(1);
  let best = { parts: 1, cost: whole / splitGain };
  for (let parts = 2; parts <= Math.min(most, mostParts); parts *= 2) {
    const partials = problem.batch * problem.rows * problem.columns * parts * partialCost;
    const total = cost(parts) + partials + kernelCost;
    if (total < best.cost) best = { parts, cost: total };
  }
  return best.parts;
}
