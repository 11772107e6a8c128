import { stack, type Tensor } from "@thalweg/tensor";

/** Tensors of one shape, wherever they come from: what can be computed in one batch. */
export interface Stacks {
  /** For every group the shape of its members, and their numbers. */
  readonly groups: readonly { readonly shape: readonly number[]; readonly members: readonly number[] }[];
  /** The members of each group in one tensor `[count, …shape]`. */
  stacked(tensors: readonly Tensor[]): Tensor[];
  /** What {@link stacked} put together. */
  unstacked(groups: readonly Tensor[]): Tensor[];
}

/** Groups tensors by their shapes, in the order of first appearance. */
export function stacksOf(shapes: readonly (readonly number[])[]): Stacks {
  const byShape = new Map<string, { shape: readonly number[]; members: number[] }>();
  for (const [index, shape] of shapes.entries()) {
    const key = shape.join();
    const group = byShape.get(key) ?? { shape, members: [] };
    group.members.push(index);
    byShape.set(key, group);
  }
  const groups = [...byShape.values()];
  return {
    groups,
    stacked: (tensors) =>
      groups.map(({ members }) =>
        stack(
          members.map((index) => tensors[index] as Tensor),
          { axis: 0 },
        ),
      ),
    unstacked(stacks) {
      const result: Tensor[] = new Array(shapes.length);
      groups.forEach(({ shape, members }, group) => {
        members.forEach((index, place) => {
          result[index] = (stacks[group] as Tensor).slice([place], [place + 1]).reshape(shape);
        });
      });
      return result;
    },
  };
}

/** The factor of an axis: G Gᵀ of each member of a stack, with the axis first and all others together. */
export function gram(stacked: Tensor, axis: number): Tensor {
  const matrix = matricized(stacked, axis);
  return matrix.matmul(matrix.transpose());
}

/** `[count, …]` with an axis of the members multiplied by a matrix `[count, n, n]`: Σ_j M[i, j] x[…, j, …]. */
export function multiplyAxis(stacked: Tensor, axis: number, matrices: Tensor): Tensor {
  const moved = matrices.matmul(matricized(stacked, axis));
  const order = axesWith(stacked.rank - 1, axis);
  const shape = [stacked.shape[0] as number, ...order.map((own) => stacked.shape[own + 1] as number)];
  const back = order.map((_, own) => order.indexOf(own) + 1);
  return moved.reshape(shape).permute([0, ...back]);
}

/** `[count, …]` as `[count, n, rest]`, n the extent of an axis of the members. */
function matricized(stacked: Tensor, axis: number): Tensor {
  const order = axesWith(stacked.rank - 1, axis).map((own) => own + 1);
  const [count, n] = [stacked.shape[0] as number, stacked.shape[axis + 1] as number];
  return stacked.permute([0, ...order]).reshape([count, n, stacked.size / (count * n)]);
}

/** The axes of members with one of them first. */
const axesWith = (rank: number, first: number): number[] => [
  first,
  ...Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== first),
];
