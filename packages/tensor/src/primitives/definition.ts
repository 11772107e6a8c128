import type { CompileTarget } from "../compiler/target";
import type { DType } from "../dtype";
import type { NdArray } from "../reference/array";
import type { Shape } from "../shape";
import type { Tensor } from "../tensor";
import type { Guard, Index } from "../view";

/** What is known of a value before it exists. */
export interface Aval {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** How an elementwise expression is written: scalars or vectors of four, and the operands' dtypes. */
export interface ExpressionContext {
  readonly width: 1 | 4;
  /** Dtypes of the operands. */
  readonly inputs: readonly DType[];
  readonly output: DType;
  /** A call of one of the functions in kernels/math.wgsl.ts, applied to every lane. */
  call(name: string, ...args: readonly string[]): string;
  /** The constant in the type and width of the expression. */
  literal(value: number, dtype: DType): string;
}

/** Where a movement operation reads: the input's coordinates, and when there is an element at all. */
export interface Movement {
  readonly coordinates: readonly Index[];
  /** All must hold, otherwise the value is the `fill` of the lowering. */
  readonly guards: readonly (Guard | undefined)[];
}

/** How a primitive becomes a part of a kernel. The compiler knows these kinds and no primitive by name. */
export type Lowering<P> =
  /** Realised data, or an argument of a traced function. */
  | { readonly kind: "leaf" }
  /** The input itself. */
  | { readonly kind: "alias" }
  /** The first input, in kernels that run after the second one is computed. */
  | { readonly kind: "barrier" }
  /** A value computed from its coordinates and from nothing else. */
  | { readonly kind: "generator"; generate(coordinates: readonly Index[], params: P): GeneratedValue }
  | {
      readonly kind: "elementwise";
      expression(args: readonly string[], context: ExpressionContext, params: P): string;
      /** Rough cost of one element in floating-point operations, for fusion decisions. */
      readonly cost: number;
      /** Values of the left or right operand that leave the other one as it is. */
      readonly neutral?: { readonly left?: number; readonly right?: number };
    }
  | {
      readonly kind: "movement";
      move(output: readonly Index[], inputShape: Shape, params: P): Movement;
      fill(params: P): number;
      /** The one application that does what `inner` and then `outer` do, where there is one. */
      merge?(inner: P, outer: P): P;
      /** Does it leave an input of this shape as it is? */
      isIdentity?(params: P, inputShape: Shape): boolean;
      /** See {@link Primitive.batch}: the same movement of an input with one more axis in front. */
      batchParams(params: P, size: number): P;
    }
  /** Data-dependent movement: the coordinate along `axis` of the first input comes from the second one. */
  | { readonly kind: "gather"; axis(params: P): number }
  | {
      readonly kind: "reduction";
      axes(params: P): readonly number[];
      readonly combine: Combine;
    }
  | { readonly kind: "contraction" }
  /** One dispatch of a kernel written by hand, for what no composition of the others does well. Nothing fuses with it. */
  | {
      readonly kind: "kernel";
      /** Reads inputs that are views of what is in memory through their strides; otherwise such views are stored first. */
      readonly strided?: boolean;
      kernel(inputs: readonly KernelInput[], output: Aval, params: P, target: CompileTarget): WrittenKernel;
    }
  /** A graph that is run several times; see loops/loop.ts. */
  | { readonly kind: "loop" }
  /** Written in other primitives; expanded before anything else happens. */
  | { readonly kind: "composite"; expand(inputs: readonly Tensor[], params: P, target: CompileTarget): Tensor };

export type GeneratedValue = { readonly value: number } | { readonly index: Index };

/** An input of a kernel written by hand: element c is at `offset + Σ strides · c` of its binding. */
export interface KernelInput extends Aval {
  readonly offset: number;
  readonly strides: readonly number[];
  /** Number of the binding: inputs that are views of one tensor share it. */
  readonly binding: number;
}

/**
 * A kernel written by hand. Its inputs (unless it is `strided`) and its output lie in memory, row-major, in the storage types of their dtypes
 * (bool as u32). It must write every element of the output, and no element may be summed in an order that varies.
 */
export interface WrittenKernel {
  /** Names the kernel in profiles, like `cholesky_f32_64`. */
  readonly label: string;
  /**
   * The statements of `main`, given the names of the bindings. In scope: `number` of this workgroup (it may exceed
   * `workgroups - 1` where the grid was split) and `local`, the invocation in it, both u32. Workgroups of one dispatch
   * may run other kernels: nothing else is told of the grid.
   */
  body(names: { readonly inputs: readonly string[]; readonly output: string }): string;
  /** Functions, constants and workgroup variables that the body uses, given the names if they are needed. */
  readonly declarations?: string | ((names: { readonly inputs: readonly string[]; readonly output: string }) => string);
  /** Names of functions in kernels/math.wgsl.ts that the text calls. */
  readonly functions?: readonly string[];
  readonly workgroupSize: number;
  /** In all; spread over the dimensions of the grid by the compiler. */
  readonly workgroups: number;
  /** Bindings declared as arrays of vectors of four; default: none. */
  readonly vectors?: { readonly inputs?: readonly boolean[]; readonly output?: boolean };
  /** Floating-point operations, for profiles. */
  readonly flops: number;
}

/**
 * An associative operation on values, or on values with their positions. The squared deviations from the mean are
 * associative together with counts and means; no kernel has them: compiler/split-reduction.ts writes them as sums.
 */
export type Combine = "sum" | "prod" | "max" | "min" | "argmax" | "argmin" | "deviations";

export interface RuleContext<P> {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly params: P;
}

export interface BatchContext<P> {
  /** Which inputs carry the batch axis, as axis 0. At least one does. */
  readonly batched: readonly boolean[];
  readonly params: P;
  /** Extent of the batch axis. */
  readonly size: number;
  /** Applies the same primitive. */
  bind(inputs: readonly Tensor[], params: P): Tensor;
}

/**
 * One random case for the generic suites: shapes, dtypes and params; values are drawn from `domain`.
 */
export interface Sample<P> {
  readonly inputs: readonly SampleInput[];
  readonly params: P;
}

export interface SampleInput {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Values are uniform in here; default [-2, 2]. */
  readonly domain?: readonly [number, number];
  /** Draw distinct values a clear distance apart: for operations with ties or kinks. */
  readonly distinct?: boolean;
  /** Makes well-conditioned matrices of this kind of the drawn values in the last two axes. */
  readonly structure?: "positiveDefinite" | "symmetric" | "triangular";
}

/** Draws integers for {@link Primitive.sample}. */
export interface Draw {
  integer(low: number, high: number): number;
  pick<T>(items: readonly T[]): T;
  shape(options?: { rank?: readonly [number, number]; extent?: readonly [number, number] }): number[];
}

/**
 * A primitive operation: everything that the engine knows about it, in one record.
 *
 * `vjp` gives one cotangent per input (null: none flows), `jvp` the output's tangent (null: zero). `batch` receives
 * inputs some of which carry a batch axis in front of their own, and returns the output with the batch axis in front.
 */
export interface Primitive<P = unknown> {
  readonly name: string;
  /** Shape and dtype of the output; throws ShapeError, DTypeError or ArgumentError. */
  shape(inputs: readonly Aval[], params: P): Aval;
  readonly lowering: Lowering<P>;
  /** Plain loops in float64. */
  reference(inputs: readonly NdArray[], params: P, output: Aval): NdArray;
  vjp(cotangent: Tensor, context: RuleContext<P>): readonly (Tensor | null)[];
  jvp(tangents: readonly (Tensor | null)[], context: RuleContext<P>): Tensor | null;
  batch(inputs: readonly Tensor[], context: BatchContext<P>): Tensor;
  /** A random valid case, for the suites that run over all primitives. */
  sample(draw: Draw): Sample<P>;
  /** For primitives whose nodes are results of one computation: the rules that see all of them together. */
  readonly joint?: JointRules<P>;
}

/** Nodes of one computation on the same inputs, made one after the other. */
export interface JointContext<P> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** One per output. */
  readonly params: readonly P[];
}

/**
 * Rules for several results of one computation: one cotangent, tangent and batched result per output, null for zero.
 */
export interface JointRules<P> {
  /** The same object for all results of one computation. */
  computation(params: P): object;
  vjp(cotangents: readonly (Tensor | null)[], context: JointContext<P>): readonly (Tensor | null)[];
  jvp(tangents: readonly (Tensor | null)[], context: JointContext<P>): readonly (Tensor | null)[];
  batch(
    inputs: readonly Tensor[],
    context: { readonly batched: readonly boolean[]; readonly params: readonly P[]; readonly size: number },
  ): readonly Tensor[];
}

/** Types a record; all fields are required, so that a missing rule is a compile error. */
export const definePrimitive = <P>(primitive: Primitive<P>): Primitive<P> => primitive;

/** The lowering of a node if it is of the given kind. */
export const loweringOf = <K extends Lowering<unknown>["kind"]>(
  node: { readonly primitive: Primitive },
  kind: K,
): Extract<Lowering<unknown>, { readonly kind: K }> | undefined =>
  node.primitive.lowering.kind === kind
    ? (node.primitive.lowering as Extract<Lowering<unknown>, { readonly kind: K }>)
    : undefined;

/** For integer- and boolean-valued operations: no cotangent flows back. */
export const zeroCotangent = (_cotangent: unknown, context: { readonly inputs: readonly unknown[] }): null[] =>
  context.inputs.map(() => null);

/** For integer- and boolean-valued operations: the tangent is zero. */
export const zeroTangent = (): null => null;
