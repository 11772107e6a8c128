import {
  ArgumentError,
  type Equation,
  equationsBetween,
  formatShape,
  normalizeAxis,
  placeholder,
  replayBatched,
  ShapeError,
  Tensor,
  type TreePath,
  treeFlatten,
  treeUnflatten,
} from "@thalweg/tensor";
import { flattenTensors, nameArgument, nameResult } from "./arguments";

/** An axis for every leaf of a tree, or null for none; one entry may stand for a whole subtree. */
export type AxisTree = number | null | readonly AxisTree[] | { readonly [name: string]: AxisTree };

/** Options of {@link vmap}. */
export interface VmapOptions {
  /**
   * The batched axis of the arguments: one axis for all, or a list with one entry per argument, each an axis, null
   * (the same for every example) or a tree of these. Default 0.
   */
  readonly in?: AxisTree;
  /** Where the batch axis goes in the result: one axis, or a tree of them; null for parts that are the same for all examples. Default 0. */
  readonly out?: AxisTree;
  /** The number of examples; needed only where no argument is batched. */
  readonly size?: number;
}

/**
 * Turns a function of one example into one of a batch. `f` is called once, on tensors without elements that have the
 * shapes of one example; what it built is repeated with one more axis, one operation for all examples.
 * What does not depend on the batch is computed once.
 *
 * @throws ShapeError if batched extents differ; ArgumentError if `in` or `out` do not fit the trees.
 * @example vmap(grad(loss), { in: [null, 0] })(params, batch) // per-sample gradients
 */
export function vmap<A extends readonly unknown[], R>(
  f: (...args: A) => R,
  { in: inAxes = 0, out: outAxes = 0, size }: VmapOptions = {},
): (...args: A) => R {
  return (...args) => {
    const { leaves, paths, structure } = treeFlatten<unknown>(args);
    if (Array.isArray(inAxes) && inAxes.length !== args.length) {
      throw new ArgumentError(
        `vmap: \`in\` has ${inAxes.length} entries for ${args.length} arguments. Give one for each.`,
      );
    }
    const axes = leaves.map((leaf, index) => batchAxis(leaf, inAxes, paths[index] as TreePath));
    const extent = batchExtent(leaves, axes, paths, size);
    const roots: Tensor[] = [];
    const values: Tensor[] = [];
    const unbatched = leaves.map((leaf, index) => {
      const axis = axes[index] as number | null;
      if (axis === null) return leaf;
      const value = leaf as Tensor;
      const root = placeholder(
        value.shape.filter((_, own) => own !== axis),
        value.dtype,
      );
      roots.push(root);
      values.push(value.moveAxis(axis, 0));
      return root;
    });
    let equations: Equation[] = [];
    try {
      const output = flattenTensors("vmap", f(...(treeUnflatten(structure, unbatched) as A)), nameResult);
      equations = equationsBetween(roots, output.leaves);
      const batched = replayBatched(equations, roots, output.leaves, values, extent);
      const results = output.leaves.map((leaf, index) =>
        placeBatchAxis(leaf, batched[index] as Tensor | null, extent, outAxes, output.paths[index] as TreePath),
      );
      return treeUnflatten(output.structure, results) as R;
    } finally {
      // Nobody can compute what is made of arguments that have no elements; whoever kept it is told so.
      for (const tensor of [...roots, ...equations.flatMap(({ outputs }) => outputs)]) {
        tensor.retire(
          "let go with the vmap in which it stood for one example (return from the function what you need)",
        );
      }
    }
  };
}

/** The entry of an {@link AxisTree} for the leaf at a path. */
function axisAt(option: "in" | "out", axes: AxisTree, path: TreePath, name: (path: TreePath) => string): number | null {
  let entry: AxisTree | undefined = axes;
  for (const key of path) {
    if (entry === null || typeof entry !== "object") break;
    entry = (entry as { readonly [key: string | number]: AxisTree | undefined })[key];
  }
  if (entry === null || typeof entry === "number") return entry;
  throw new ArgumentError(
    `vmap: \`${option}\` gives no axis for ${name(path)}. Give a number, or null for "not batched".`,
  );
}

function batchAxis(leaf: unknown, axes: AxisTree, path: TreePath): number | null {
  const axis = axisAt("in", axes, path, nameArgument);
  if (axis === null) return null;
  if (!(leaf instanceof Tensor)) {
    throw new ArgumentError(
      `vmap: ${nameArgument(path)} is a ${typeof leaf} and cannot be batched. Set its entry of \`in\` to null.`,
    );
  }
  if (leaf.rank === 0) {
    throw new ShapeError(
      `vmap: ${nameArgument(path)} is a scalar and has no axis to batch over. Set its entry of \`in\` to null.`,
    );
  }
  return normalizeAxis(`vmap of ${nameArgument(path)}`, axis, leaf.rank);
}

function batchExtent(
  leaves: readonly unknown[],
  axes: readonly (number | null)[],
  paths: readonly TreePath[],
  size: number | undefined,
): number {
  let extent = size;
  let from = `size ${size}`;
  axes.forEach((axis, index) => {
    if (axis === null) return;
    const { shape } = leaves[index] as Tensor;
    const found = `${nameArgument(paths[index] as TreePath)} ${formatShape(shape)} axis ${axis} has ${shape[axis]}`;
    if (extent !== undefined && shape[axis] !== extent) {
      throw new ShapeError(`vmap: ${from}, ${found}. Batched axes must have one extent; check the option \`in\`.`);
    }
    if (extent === undefined) from = found;
    extent = shape[axis] as number;
  });
  if (extent !== undefined) return extent;
  throw new ArgumentError(
    "vmap: no argument is batched. Give an axis in the option `in`, or the number of examples as `size`.",
  );
}

function placeBatchAxis(
  single: Tensor,
  batched: Tensor | null,
  extent: number,
  axes: AxisTree,
  path: TreePath,
): Tensor {
  const axis = axisAt("out", axes, path, nameResult);
  if (axis === null) {
    if (batched === null) return single;
    throw new ArgumentError(
      `vmap: ${nameResult(path)} differs between examples, \`out\` cannot be null for it. Give an axis.`,
    );
  }
  const result = batched ?? single.expand([extent, ...single.shape]);
  return result.moveAxis(0, normalizeAxis(`vmap of ${nameResult(path)}`, axis, result.rank));
}
