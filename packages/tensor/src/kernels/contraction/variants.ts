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

/**
 * CPUs with vectors of eight or more like tall tiles, except where a wide iteration saves gathers: both operands lie
 * together along the contraction and no other way. Measured on Mesa's llvmpipe; SwiftShader (vectors of four) prefers
 * what GPUs do.
 */
function registerVariants({ a, b }: ContractionProblem, { likesTallTiles }: CompileTarget): RegisterVariant[] {
  const wide: RegisterVariant = { kind: "registers", rows: 8, unroll: 4 };
  const tall: RegisterVariant = { kind: "registers", rows: 16, unroll: 1 };
  const others: RegisterVariant[] = [
    { kind: "registers", rows: 4, unroll: 4 },
    { kind: "registers", rows: 8, unroll: 1 },
  ];
  const saves = a.contracted && b.contracted && !b.free;
  return likesTallTiles && !saves ? [tall, wide, ...others] : [wide, tall, ...others];
}
