/**
 * The variants in which a contraction can be computed, and which of them suits a problem.
 *
 * A variant is plain data: it can be stored as JSON, compared by its JSON text, and forced by
 * {@link CompileTarget.chooseContraction}. Every variant computes the same sums of products over the same views, with
 * the same epilogue; results differ by rounding only, because the order of the terms differs.
 */
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

export type ContractionVariant = RegisterVariant;

/** The variant in which a problem is computed: what the target forces, or the first of {@link contractionVariants}. */
export const chooseVariant = (problem: ContractionProblem, target: CompileTarget): ContractionVariant =>
  target.chooseContraction?.(problem) ?? (contractionVariants(problem, target)[0] as ContractionVariant);

/**
 * Every variant that is valid for a problem on a target, the heuristic's choice first, at most about twelve: what a
 * tuner tries.
 */
export function contractionVariants(problem: ContractionProblem, target: CompileTarget): ContractionVariant[] {
  return registerVariants(problem, target);
}

/** Operations below which a product's kernel is chosen by how fast it compiles on CPUs: it runs in no time. */
const smallWork = 2 ** 23;

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
