import {
  ArgumentError,
  DTypeError,
  formatPath,
  formatShape,
  formatStructure,
  isFloat,
  ShapeError,
  sameShape,
  Tensor,
  type TreePath,
  type TreeStructure,
  treeFlatten,
} from "@thalweg/tensor";

/** A tree of tensors taken apart. */
export interface FlatTensors {
  readonly leaves: readonly Tensor[];
  readonly paths: readonly TreePath[];
  readonly structure: TreeStructure;
}

/** `argument 0 (conv1.kernel)`: a path into the list of arguments as messages show it. */
export function nameArgument([index, ...rest]: TreePath): string {
  return rest.length === 0 ? `argument ${index}` : `argument ${index} (${formatPath(rest)})`;
}

/** `the result (logits)`: a path into a function's result as messages show it. */
export const nameResult = (path: TreePath): string =>
  path.length === 0 ? "the result" : `the result (${formatPath(path)})`;

/** What a value that should have been a tensor is. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? `an object of class ${value.constructor?.name ?? "null"}` : `a ${typeof value}`;
}

/** Takes a tree apart whose leaves must all be tensors. @throws ArgumentError naming the leaf that is not. */
export function flattenTensors(operation: string, tree: unknown, name: (path: TreePath) => string): FlatTensors {
  const { leaves, paths, structure } = treeFlatten<unknown>(tree);
  leaves.forEach((leaf, index) => {
    if (leaf instanceof Tensor) return;
    const hint =
      leaf instanceof Promise ? "A transformed function is not async: read values outside of it." : "Use tensor(…).";
    throw new ArgumentError(
      `${operation}: ${name(paths[index] as TreePath)} is ${describeValue(leaf)}, not a tensor. ${hint}`,
    );
  });
  return { leaves: leaves as Tensor[], paths, structure };
}

/** @throws DTypeError unless all arguments are floats. */
export function requireFloatArguments(operation: string, { leaves, paths }: FlatTensors, hint: string): void {
  leaves.forEach((leaf, index) => {
    if (isFloat(leaf.dtype)) return;
    throw new DTypeError(
      `${operation}: ${nameArgument(paths[index] as TreePath)} is ${leaf.dtype}, derivatives exist with respect to floats. ${hint}`,
    );
  });
}

/** Takes the result of a differentiated function apart. @throws DTypeError unless it is of floats. */
export function flattenResult(operation: string, result: unknown): FlatTensors {
  const flat = flattenTensors(operation, result, nameResult);
  flat.leaves.forEach((leaf, index) => {
    if (isFloat(leaf.dtype)) return;
    throw new DTypeError(
      `${operation}: ${nameResult(flat.paths[index] as TreePath)} is ${leaf.dtype}, derivatives exist for floats. ` +
        "Compute it outside, or return it as the auxiliary result of valueAndGrad.",
    );
  });
  return flat;
}

/**
 * The leaves of a tree that must look like another one, in the other one's order: tangents like primals, cotangents
 * like results. Names may come in any order.
 */
export function flattenLike(
  operation: string,
  what: string,
  tree: unknown,
  expected: FlatTensors,
  name: (path: TreePath) => string,
): readonly Tensor[] {
  const { leaves, paths, structure } = treeFlatten<unknown>(tree);
  const given = new Map(paths.map((path, index) => [JSON.stringify(path), leaves[index]]));
  const keys = expected.paths.map((path) => JSON.stringify(path));
  if (given.size !== keys.length || !keys.every((key) => given.has(key))) {
    const [found, wanted] = [formatStructure(structure), formatStructure(expected.structure)];
    throw new ArgumentError(`${operation}: the ${what} have the structure ${found}, expected ${wanted}.`);
  }
  return keys.map((key, index) => {
    const leaf = given.get(key);
    const like = expected.leaves[index] as Tensor;
    const of = name(expected.paths[index] as TreePath);
    if (!(leaf instanceof Tensor)) {
      throw new ArgumentError(`${operation}: the ${what} of ${of} hold ${describeValue(leaf)}, not a tensor.`);
    }
    if (!sameShape(leaf.shape, like.shape)) {
      throw new ShapeError(
        `${operation}: the ${what} of ${of} have shape ${formatShape(leaf.shape)}, expected ${formatShape(like.shape)}.`,
      );
    }
    if (leaf.dtype !== like.dtype) {
      throw new DTypeError(`${operation}: the ${what} of ${of} are ${leaf.dtype}, expected ${like.dtype}.`);
    }
    return leaf;
  });
}
