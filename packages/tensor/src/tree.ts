import { ArgumentError } from "./errors";

/** Plain objects and arrays with leaves of type `L`; `null` and `undefined` are empty trees. */
export type Tree<L> = L | readonly Tree<L>[] | { readonly [name: string]: Tree<L> } | null | undefined;

/** The tree `T` with every leaf of type `From` replaced by `To`. */
export type MapLeaves<T, From, To> = T extends From
  ? To
  : T extends null | undefined
    ? T
    : T extends readonly unknown[] | object
      ? { [K in keyof T]: MapLeaves<T[K], From, To> }
      : T;

/** A path of keys from the root to a leaf: `["conv1", "kernel"]`. */
export type TreePath = readonly (string | number)[];

/** What remains of a tree when its leaves are taken out. */
export type TreeStructure =
  | { readonly kind: "leaf" }
  | { readonly kind: "empty"; readonly value: null | undefined }
  | { readonly kind: "array"; readonly items: readonly TreeStructure[] }
  | { readonly kind: "object"; readonly names: readonly string[]; readonly items: readonly TreeStructure[] };

const leafStructure: TreeStructure = { kind: "leaf" };

function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * Takes a tree apart. Object keys are visited in insertion order, so that the leaf order is that of the literal.
 *
 * @param isLeaf decides what counts as a leaf; by default everything that is no plain object, array, null or undefined.
 */
export function treeFlatten<L>(
  tree: unknown,
  isLeaf?: (value: unknown) => boolean,
): { leaves: L[]; paths: TreePath[]; structure: TreeStructure } {
  const leaves: L[] = [];
  const paths: TreePath[] = [];
  const visit = (value: unknown, path: TreePath): TreeStructure => {
    if (isLeaf?.(value)) {
      leaves.push(value as L);
      paths.push(path);
      return leafStructure;
    }
    if (value === null || value === undefined) return { kind: "empty", value };
    if (Array.isArray(value))
      return { kind: "array", items: value.map((item, index) => visit(item, [...path, index])) };
    if (typeof value === "object" && isPlainObject(value)) {
      const names = Object.keys(value);
      return { kind: "object", names, items: names.map((name) => visit(value[name], [...path, name])) };
    }
    leaves.push(value as L);
    paths.push(path);
    return leafStructure;
  };
  const structure = visit(tree, []);
  return { leaves, paths, structure };
}

/** Puts leaves back into a structure, in the order in which {@link treeFlatten} gave them. */
export function treeUnflatten(structure: TreeStructure, leaves: readonly unknown[]): unknown {
  let next = 0;
  const build = (part: TreeStructure): unknown => {
    switch (part.kind) {
      case "leaf":
        return leaves[next++];
      case "empty":
        return part.value;
      case "array":
        return part.items.map(build);
      case "object":
        return Object.fromEntries(part.names.map((name, index) => [name, build(part.items[index] as TreeStructure)]));
    }
  };
  const tree = build(structure);
  if (next !== leaves.length) {
    throw new ArgumentError(`treeUnflatten: the structure has ${next} leaves, ${leaves.length} were given.`);
  }
  return tree;
}

/** One line that two trees share exactly when they have the same structure. */
export function formatStructure(structure: TreeStructure): string {
  switch (structure.kind) {
    case "leaf":
      return "*";
    case "empty":
      return String(structure.value);
    case "array":
      return `[${structure.items.map(formatStructure).join(",")}]`;
    case "object":
      return `{${structure.names.map((name, i) => `${JSON.stringify(name)}:${formatStructure(structure.items[i] as TreeStructure)}`).join(",")}}`;
  }
}

/** The leaves of a tree, in order. */
export const treeLeaves = <L>(tree: unknown): L[] => treeFlatten<L>(tree).leaves;

function flattenAll(operation: string, trees: readonly unknown[]) {
  const flat = trees.map((tree) => treeFlatten<unknown>(tree));
  const [first] = flat;
  if (first === undefined) throw new ArgumentError(`${operation}: no tree given.`);
  const expected = formatStructure(first.structure);
  flat.forEach((other, index) => {
    const found = formatStructure(other.structure);
    if (found !== expected) {
      throw new ArgumentError(`${operation}: tree ${index} is ${found}, tree 0 is ${expected}. They must agree.`);
    }
  });
  return { flat, first };
}

/**
 * Applies `fn` to the corresponding leaves of trees of one structure.
 *
 * @example treeMap((p, g) => p.sub(g.mul(0.1)), params, grads)
 */
export function treeMap<T, L, R>(fn: (leaf: L) => R, tree: T): MapLeaves<T, L, R>;
export function treeMap<T, A, B, R>(fn: (a: A, b: B) => R, tree: T, other: unknown): MapLeaves<T, A, R>;
export function treeMap<T, A, B, C, R>(
  fn: (a: A, b: B, c: C) => R,
  tree: T,
  second: unknown,
  third: unknown,
): MapLeaves<T, A, R>;
export function treeMap(fn: (...leaves: never[]) => unknown, ...trees: unknown[]): unknown {
  const { flat, first } = flattenAll("treeMap", trees);
  const results = first.leaves.map((_, index) => fn(...(flat.map((tree) => tree.leaves[index]) as never[])));
  return treeUnflatten(first.structure, results);
}

/** {@link treeMap} for one tree whose function also sees the path of each leaf. */
export function treeMapWithPath<T, L, R>(fn: (path: TreePath, leaf: L) => R, tree: T): MapLeaves<T, L, R> {
  const { leaves, paths, structure } = treeFlatten<L>(tree);
  return treeUnflatten(
    structure,
    leaves.map((leaf, index) => fn(paths[index] as TreePath, leaf)),
  ) as MapLeaves<T, L, R>;
}

/** Folds the leaves from the left. */
export const treeReduce = <L, A>(fn: (accumulator: A, leaf: L) => A, tree: unknown, initial: A): A =>
  treeLeaves<L>(tree).reduce(fn, initial);

/** `"conv1.kernel"` for messages and file formats. */
export const formatPath = (path: TreePath): string => path.join(".");
