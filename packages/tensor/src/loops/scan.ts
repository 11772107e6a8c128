import { ArgumentError, DTypeError, formatShape, ShapeError } from "../errors";
import { sameShape } from "../shape";
import { full, placeholder, Tensor } from "../tensor";
import { formatPath, formatStructure, type TreePath, type TreeStructure, treeFlatten, treeUnflatten } from "../tree";
import { closeLoop, type LoopResult } from "./loop";
import { bindLoop } from "./primitive";

export interface ScanOptions {
  /** The number of iterations; needed where `xs` has no tensors. Default: the extent of their first axes. */
  readonly length?: number;
  /** Runs from the last element to the first one. What is stacked keeps its order. Default false. */
  readonly reverse?: boolean;
}

interface FlatTree {
  readonly leaves: readonly Tensor[];
  readonly paths: readonly TreePath[];
  readonly structure: TreeStructure;
}

/**
 * Runs a function along the first axis of `xs`, handing a carry from one iteration to the next:
 *
 *     for (t = 0; t < length; t++) [carry, ys[t]] = fn(carry, xs[t])
 *
 * The function is traced once and compiled once, however many iterations there are: time to compile and size of the
 * graph do not grow with the length, and the carry stays in its place in memory. Derivatives of every order, batching
 * and nesting work. Tensors that the function closes over are inputs like any other.
 *
 * Reverse mode keeps, of every iteration, the carry and what is expensive to compute again (products and sums); wrap
 * parts of the function in `checkpoint` of `@thalweg/autograd` to keep less.
 *
 * Several steps of training in one call are a scan of the step over its batches: one submit, with donated state replaced
 * in place, and the metrics of all steps stacked. Where that is more work than a device may be given at once, it is cut
 * into several submits between kernels.
 *
 *     const steps = compile((state: State, batches: Batch) => scan(step, state, batches), { donate: [0] });
 *
 * @param fn `(carry, x) => [carry, y]`; the new carry has the structure, shapes and dtypes of the old one. `y` is any
 * tree, null for nothing.
 * @param init The carry before the first iteration.
 * @param xs A tree of tensors with one first extent; null if there is nothing to run along, with `length` given.
 * @returns The last carry, and the `y`s stacked along a new first axis. With length 0: `init`, and tensors without
 * elements.
 * @throws ArgumentError if a leaf is no tensor, the length is missing, or the structure of the carry changes; ShapeError
 * or DTypeError if lengths differ or a leaf of the carry changes.
 * @example
 * const [, sums] = scan((sum: Tensor, x: Tensor) => [sum.add(x), sum.add(x)], scalar(0), tensor([1, 2, 3])); // 1, 3, 6
 */
export function scan<C, X, Y>(
  fn: (carry: C, x: X) => readonly [carry: C, y: Y],
  init: C,
  xs: X,
  { length, reverse = false }: ScanOptions = {},
): [carry: C, ys: Y] {
  const start = flattenTensors(init, "the carry");
  const stacked = flattenTensors(xs, "xs");
  const count = lengthOf(stacked, length);
  const carries = start.leaves.map(({ shape, dtype }) => placeholder(shape, dtype));
  const elements = stacked.leaves.map(({ shape, dtype }) => placeholder(shape.slice(1), dtype));
  const result: unknown = fn(
    treeUnflatten(start.structure, carries) as C,
    treeUnflatten(stacked.structure, elements) as X,
  );
  if (!Array.isArray(result) || result.length !== 2) {
    const hint = result instanceof Promise ? " It is not async: read values outside of it." : "";
    throw new ArgumentError(`scan: the function must return [carry, y].${hint}`);
  }
  const after = flattenTensors(result[0], "the carry that the function returns");
  checkCarry(start, after);
  const ys = flattenTensors(result[1], "y");
  if (count === 0) {
    const empty = ys.leaves.map(({ shape, dtype }) => full([0, ...shape], 0, { dtype }));
    return [init, treeUnflatten(ys.structure, empty) as Y];
  }
  const { loop, inputs, others } = closeLoop({
    length: count,
    reverse,
    carries: carries.map((own, index) => ({
      placeholder: own,
      start: start.leaves[index] as Tensor,
      next: after.leaves[index] as Tensor,
    })),
    elements: elements.map((own, index) => ({ placeholder: own, stacked: stacked.leaves[index] as Tensor })),
    others: ys.leaves,
  });
  const made = bindLoop({ loop, inputs }, [
    ...carries.map((_, index): LoopResult => ({ kind: "carry", index })),
    ...others.map((value) => loop.stackOf(value)),
  ]);
  return [
    treeUnflatten(start.structure, made.slice(0, carries.length)) as C,
    treeUnflatten(ys.structure, made.slice(carries.length)) as Y,
  ];
}

const at = (what: string, path: TreePath | undefined): string =>
  path === undefined || path.length === 0 ? what : `${what} at ${formatPath(path)}`;

function flattenTensors(tree: unknown, what: string): FlatTree {
  const { leaves, paths, structure } = treeFlatten<unknown>(tree);
  for (const [index, leaf] of leaves.entries()) {
    if (leaf instanceof Tensor) continue;
    throw new ArgumentError(
      `scan: ${at(what, paths[index])} is a ${typeof leaf}, not a tensor. Make it one with tensor(…), or close over it.`,
    );
  }
  return { leaves: leaves as Tensor[], paths, structure };
}

function lengthOf({ leaves, paths }: FlatTree, length: number | undefined): number {
  let count = length;
  let from = `length is ${length}`;
  if (length !== undefined && (!Number.isInteger(length) || length < 0)) {
    throw new ArgumentError(`scan: length is ${length}. Give an integer of at least 0.`);
  }
  for (const [index, leaf] of leaves.entries()) {
    const name = at("xs", paths[index]);
    if (leaf.rank === 0) {
      throw new ShapeError(`scan: ${name} is a scalar and has no axis to run along. Close over it instead.`);
    }
    const own = `${name} ${formatShape(leaf.shape)} has ${leaf.shape[0]} elements along its first axis`;
    if (count !== undefined && leaf.shape[0] !== count) {
      throw new ShapeError(`scan: ${from}, ${own}. All must have one length.`);
    }
    if (count === undefined) from = own;
    count = leaf.shape[0] as number;
  }
  if (count !== undefined) return count;
  throw new ArgumentError("scan: xs has no tensors, so the number of iterations is unknown. Give `length`.");
}

function checkCarry(start: FlatTree, after: FlatTree): void {
  const [before, now] = [formatStructure(start.structure), formatStructure(after.structure)];
  if (before !== now) {
    throw new ArgumentError(`scan: the carry is ${before}, the function returned ${now}. It must keep its structure.`);
  }
  for (const [index, leaf] of start.leaves.entries()) {
    const next = after.leaves[index] as Tensor;
    const name = at("the carry", start.paths[index]);
    if (!sameShape(leaf.shape, next.shape)) {
      throw new ShapeError(
        `scan: ${name} enters an iteration as ${formatShape(leaf.shape)} and leaves it as ${formatShape(next.shape)}. ` +
          "Start from a carry of the shape that it keeps.",
      );
    }
    if (leaf.dtype !== next.dtype) {
      throw new DTypeError(
        `scan: ${name} enters an iteration as ${leaf.dtype} and leaves it as ${next.dtype}. Cast one of them.`,
      );
    }
  }
}
