import {
  ArgumentError,
  DTypeError,
  formatShape,
  identity,
  isFloat,
  pullback,
  ShapeError,
  Tensor,
  treeUnflatten,
} from "@thalweg/tensor";
import { describeValue, type FlatTensors, flattenTensors, nameArgument, requireFloatArguments } from "./arguments";

/** Which arguments a derivative is taken with respect to: one position, or several. */
export type ArgumentNumbers = number | readonly number[];

/** The arguments named by `argnums`: one of them, or a tuple. */
export type SelectedArguments<A extends readonly unknown[], N extends ArgumentNumbers> = N extends number
  ? A[N]
  : { -readonly [K in keyof N]: N[K] extends number ? A[N[K]] : never };

/** Options of {@link grad} and {@link valueAndGrad}. */
export interface GradOptions<N extends ArgumentNumbers = ArgumentNumbers> {
  /** Positions of the differentiated arguments; default 0. With a list the gradients come as a list. */
  readonly argnums?: N;
  /** The function returns `[scalar, aux]`, and `aux`, any tree, is handed through. Default false. */
  readonly hasAux?: boolean;
  /** Leaves that are no floats (labels, keys) get zeros of their dtype instead of an error. Default false. */
  readonly allowIntegers?: boolean;
}

/**
 * The gradient of a scalar function with respect to its first argument, or those that `argnums` names.
 *
 * @returns a function of the same arguments that gives a tree like the differentiated argument (a list of trees if
 * `argnums` is a list; `[gradients, aux]` with `hasAux`). Leaves that the value does not depend on get zeros.
 * @throws ShapeError if the function does not return a scalar; DTypeError for leaves that are no floats.
 * @example grad(({ w }: { w: Tensor }) => x.dot(w).square().sum())({ w }); // { w: … }
 */
export function grad<A extends readonly unknown[], X, const N extends ArgumentNumbers = 0>(
  f: (...args: A) => readonly [Tensor, X],
  options: GradOptions<N> & { readonly hasAux: true },
): (...args: A) => [gradients: SelectedArguments<A, N>, aux: X];
export function grad<A extends readonly unknown[], const N extends ArgumentNumbers>(
  f: (...args: A) => Tensor,
  options: GradOptions<N> & { readonly argnums: N; readonly hasAux?: false },
): (...args: A) => SelectedArguments<A, N>;
export function grad<A extends readonly unknown[]>(
  f: (...args: A) => Tensor,
  options?: GradOptions<0> & { readonly hasAux?: false },
): (...args: A) => A[0];
export function grad(f: (...args: never[]) => unknown, options: GradOptions = {}): (...args: unknown[]) => unknown {
  return (...args) => {
    const { gradients, aux } = differentiate("grad", f, options, args);
    return options.hasAux ? [gradients, aux] : gradients;
  };
}

/**
 * {@link grad} together with the value, from one evaluation.
 *
 * @returns a function that gives `[value, gradients]`, or `[[value, aux], gradients]` with `hasAux`.
 * @throws ShapeError if the function does not return a scalar; DTypeError for leaves that are no floats.
 */
export function valueAndGrad<A extends readonly unknown[], X, const N extends ArgumentNumbers = 0>(
  f: (...args: A) => readonly [Tensor, X],
  options: GradOptions<N> & { readonly hasAux: true },
): (...args: A) => [result: [value: Tensor, aux: X], gradients: SelectedArguments<A, N>];
export function valueAndGrad<A extends readonly unknown[], const N extends ArgumentNumbers>(
  f: (...args: A) => Tensor,
  options: GradOptions<N> & { readonly argnums: N; readonly hasAux?: false },
): (...args: A) => [value: Tensor, gradients: SelectedArguments<A, N>];
export function valueAndGrad<A extends readonly unknown[]>(
  f: (...args: A) => Tensor,
  options?: GradOptions<0> & { readonly hasAux?: false },
): (...args: A) => [value: Tensor, gradients: A[0]];
export function valueAndGrad(
  f: (...args: never[]) => unknown,
  options: GradOptions = {},
): (...args: unknown[]) => unknown {
  return (...args) => {
    const { value, gradients, aux } = differentiate("valueAndGrad", f, options, args);
    return [options.hasAux ? [value, aux] : value, gradients];
  };
}

/** The body of {@link grad} and of what is built on it, which name themselves in messages. */
export function differentiate(
  operation: string,
  f: (...args: never[]) => unknown,
  { argnums = 0, hasAux = false, allowIntegers = false }: GradOptions,
  args: readonly unknown[],
): { value: Tensor; aux: unknown; gradients: unknown } {
  const { roots, wrapped, rebuild } = selectArguments(operation, argnums, args, allowIntegers);
  const result: unknown = f(...(wrapped as never[]));
  const [value, aux] = hasAux ? separateAux(operation, result) : [result, undefined];
  requireScalar(operation, value);
  const cotangents = pullback(roots, [value])([value.onesLike()]);
  return {
    value,
    aux,
    gradients: rebuild(cotangents.map((cotangent, index) => cotangent ?? (roots[index] as Tensor).zerosLike())),
  };
}

/** The differentiated arguments with their leaves under a fresh identity, among the others as they are. */
export interface SelectedRoots {
  readonly roots: readonly Tensor[];
  readonly wrapped: readonly unknown[];
  readonly flat: FlatTensors;
  /** Puts one tree per root leaf, or anything else, in the place of the roots. */
  rebuild(leaves: readonly unknown[]): unknown;
}

/** Checks `argnums` and marks the leaves that it names. @throws ArgumentError, DTypeError */
export function selectArguments(
  operation: string,
  argnums: ArgumentNumbers,
  args: readonly unknown[],
  allowIntegers = false,
): SelectedRoots {
  const positions = typeof argnums === "number" ? [argnums] : argnums;
  for (const position of positions) {
    if (!Number.isInteger(position) || position < 0 || position >= args.length) {
      throw new ArgumentError(
        `${operation}: argnums names argument ${position}, the function was called with ${args.length}. Count from 0.`,
      );
    }
  }
  if (new Set(positions).size !== positions.length) {
    throw new ArgumentError(`${operation}: argnums [${positions.join(", ")}] names an argument twice.`);
  }
  const name = ([index, ...rest]: readonly (string | number)[]) =>
    nameArgument([positions[index as number] as number, ...rest]);
  const flat = flattenTensors(
    operation,
    positions.map((position) => args[position]),
    name,
  );
  if (!allowIntegers) {
    const paths = flat.paths.map(([index, ...rest]) => [positions[index as number] as number, ...rest]);
    requireFloatArguments(operation, { ...flat, paths }, "Pass it as another argument, or set allowIntegers.");
  }
  const roots = flat.leaves.map(identity);
  const rebuilt = treeUnflatten(flat.structure, roots) as unknown[];
  const wrapped = args.map((arg, position) => {
    const index = positions.indexOf(position);
    return index < 0 ? arg : rebuilt[index];
  });
  const rebuild = (leaves: readonly unknown[]): unknown => {
    const trees = treeUnflatten(flat.structure, leaves) as unknown[];
    return typeof argnums === "number" ? trees[0] : trees;
  };
  return { roots, wrapped, flat, rebuild };
}

function separateAux(operation: string, result: unknown): [unknown, unknown] {
  if (Array.isArray(result) && result.length === 2) return [result[0], result[1]];
  throw new ArgumentError(`${operation}: with hasAux the function must return [scalar, aux].`);
}

function requireScalar(operation: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) {
    const hint = Array.isArray(value)
      ? "For [value, aux] set hasAux."
      : value instanceof Promise
        ? "A differentiated function is not async: read values outside of it."
        : "Return the loss as a tensor of shape [].";
    throw new ArgumentError(`${operation}: the function returned ${describeValue(value)}, not a tensor. ${hint}`);
  }
  if (value.rank !== 0) {
    throw new ShapeError(
      `${operation}: the function returned ${formatShape(value.shape)}, a gradient needs a scalar. ` +
        "Reduce it with .mean() or .sum(), or use jacobian.",
    );
  }
  if (!isFloat(value.dtype)) {
    throw new DTypeError(
      `${operation}: the function returned ${value.dtype}, a gradient needs a float. Cast: .cast("f32").`,
    );
  }
}
