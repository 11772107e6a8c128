/** Which parameters a posterior is about: a problem of these alone, with all others as they are. */
import { ArgumentError, nearestName, type Tensor, tensor, treeFlatten, treeUnflatten } from "@thalweg/tensor";
import type { CurvatureProblem } from "../problem";

/**
 * The uncertain parameters: tensors by their paths joined with dots, or for each of them the positions of single elements,
 * counted row by row. All others are fixed.
 */
export type UncertainParameters = readonly string[] | Readonly<Record<string, readonly number[]>>;

/** A tensor of which all elements, or those at some positions, are uncertain. */
export interface UncertainTensor {
  /** Position in the list of all parameters. */
  readonly index: number;
  readonly name: string;
  readonly elements: readonly number[] | undefined;
}

/** Uncertain tensors by name; of a tensor with fixed elements, the others as a vector. */
export type Uncertain = Readonly<Record<string, Tensor>>;

/** The tensors that are asked for, in the order of the parameters. @throws ArgumentError for unknown names and positions, and for none. */
export function uncertainTensors(params: unknown, chosen: UncertainParameters | undefined): UncertainTensor[] {
  const { leaves, paths } = treeFlatten<Tensor>(params);
  const names = paths.map((path) => path.join("."));
  const all = names.map((name, index) => ({ index, name, elements: undefined }));
  if (chosen === undefined) return all;
  const isList = Array.isArray(chosen);
  const asked: readonly string[] = isList ? chosen : Object.keys(chosen);
  if (asked.length === 0) throw new ArgumentError("laplace: no parameter is uncertain. Name at least one.");
  for (const name of asked) {
    if (names.includes(name)) continue;
    const nearest = nearestName(name, names);
    throw new ArgumentError(
      `laplace: no parameter "${name}".${nearest === undefined ? "" : ` Did you mean "${nearest}"?`} Known: ${names.join(", ")}.`,
    );
  }
  return all
    .filter(({ name }) => asked.includes(name))
    .map((own) => {
      if (isList) return own;
      const elements = (chosen as Readonly<Record<string, readonly number[]>>)[own.name] as readonly number[];
      const { size } = leaves[own.index] as Tensor;
      const wrong = elements.find((at) => !Number.isInteger(at) || at < 0 || at >= size);
      if (wrong !== undefined || elements.length === 0 || new Set(elements).size < elements.length) {
        const what =
          wrong === undefined ? `${elements.length} positions, some twice or none at all` : `position ${wrong}`;
        throw new ArgumentError(`laplace: ${what} of "${own.name}". Give different integers from 0 to ${size - 1}.`);
      }
      return { ...own, elements };
    });
}

/** A problem of the uncertain parameters alone. */
export interface Restriction<P, X> {
  readonly problem: CurvatureProblem<Uncertain, X>;
  readonly uncertain: Uncertain;
  /** All parameters, with other values for the uncertain ones. */
  fill(uncertain: Uncertain): P;
}

/**
 * The problem of some parameters, with all others as they are in `params`.
 *
 * @param tensors What {@link uncertainTensors} gives.
 */
export function restrict<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  tensors: readonly UncertainTensor[],
): Restriction<P, X> {
  const { leaves, structure } = treeFlatten<Tensor>(params);
  const uncertain = Object.fromEntries(
    tensors.map(({ index, name, elements }) => [name, pick(leaves[index] as Tensor, elements)]),
  );
  const places = tensors.map(({ index, elements }) => elements && placesOf((leaves[index] as Tensor).size, elements));
  const fill = (own: Uncertain): P => {
    const filled = [...leaves];
    tensors.forEach(({ index, name }, at) => {
      const [value, place, leaf] = [own[name] as Tensor, places[at], leaves[index] as Tensor];
      filled[index] =
        place === undefined
          ? value
          : place.isUncertain.where(value.gather(place.position, { axis: 0 }), leaf.flatten()).reshape(leaf.shape);
    });
    return treeUnflatten(structure, filled) as P;
  };
  return { problem: { ...problem, model: (own, inputs) => problem.model(fill(own), inputs) }, uncertain, fill };
}

/** The elements at some positions as a vector, or the tensor itself. */
export const pick = (leaf: Tensor, elements: readonly number[] | undefined): Tensor =>
  elements === undefined ? leaf : leaf.flatten().gather(tensor(Int32Array.from(elements)), { axis: 0 });

/** For every element of a tensor: is it uncertain, and where in the vector of the uncertain ones? */
function placesOf(
  size: number,
  elements: readonly number[],
): { readonly isUncertain: Tensor; readonly position: Tensor } {
  const position = new Int32Array(size).fill(-1);
  elements.forEach((at, index) => {
    position[at] = index;
  });
  const places = tensor(position);
  return { isUncertain: places.greaterEqual(0), position: places.maximum(0) };
}
