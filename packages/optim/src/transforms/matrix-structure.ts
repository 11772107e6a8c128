/** Structured matrices that are closed under products: what SINGD keeps of the roots of its preconditioner. */
import { concat, eye, type Shape, type Tensor } from "@thalweg/tensor";

/**
 * - `"dense"`: INGD.
 * - `"diagonal"`, `"blockDiagonal"`.
 * - `"lowerTriangular"`, `"upperTriangular"`.
 * - `"lowerToeplitz"`, `"upperToeplitz"`: triangular, with equal numbers along each diagonal.
 * - `"hierarchical"`: a dense first block of rows, a diagonal, and last rows that are zero in the first columns.
 */
export type SingdStructure =
  | "dense"
  | "diagonal"
  | "blockDiagonal"
  | "lowerTriangular"
  | "upperTriangular"
  | "lowerToeplitz"
  | "upperToeplitz"
  | "hierarchical";

export const singdStructures: readonly SingdStructure[] = [
  "dense",
  "diagonal",
  "blockDiagonal",
  "lowerTriangular",
  "upperTriangular",
  "lowerToeplitz",
  "upperToeplitz",
  "hierarchical",
];

/** How matrices `[groups, n, n]` of a structure are kept. */
export interface MatrixStructure {
  /** The numbers of a matrix that has the structure: `[groups, …]`. */
  pack(dense: Tensor): Tensor;
  unpack(packed: Tensor): Tensor;
  /**
   * What a step along a symmetric M is for the structure, packed. Elements whose mirror image is outside of it count
   * twice, and numbers that stand for several elements are their mean: the gradient in the numbers of the structure, divided
   * by their metric.
   *
   * @see Lin et al., Structured inverse-free natural gradient (2024), section 3
   */
  project(symmetric: Tensor): Tensor;
}

/** @param blockSize rows of a block of `"blockDiagonal"`, and of the dense blocks at both ends of `"hierarchical"`. */
export function matrixStructure(structure: SingdStructure, blockSize: number, n: number): MatrixStructure {
  switch (structure) {
    case "dense":
      return { pack: (x) => x, unpack: (x) => x, project: (x) => x };
    case "diagonal": {
      const pack = (x: Tensor): Tensor => x.mul(eye(n)).sum({ axis: 2 });
      return { pack, unpack: (v) => v.expandDims(2).mul(eye(n)), project: pack };
    }
    case "blockDiagonal":
      return blockDiagonal(Math.min(blockSize, n), n);
    case "lowerTriangular":
      return triangular((row, column) => row.greaterEqual(column));
    case "upperTriangular":
      return triangular((row, column) => row.lessEqual(column));
    case "lowerToeplitz":
      return toeplitz(n);
    case "upperToeplitz": {
      const { pack, unpack, project } = toeplitz(n);
      return {
        pack: (x) => pack(x.transpose()),
        unpack: (v) => unpack(v).transpose(),
        project: (x) => project(x.transpose()),
      };
    }
    case "hierarchical":
      return hierarchical(blockSize, n);
  }
}

const part = (x: Tensor, rows: readonly [number, number], columns: readonly [number, number]): Tensor =>
  x.slice([0, rows[0], columns[0]], [x.shape[0] as number, rows[1], columns[1]]);

/** Elements whose mirror image is zero count twice. */
const doubled = (x: Tensor): Tensor => x.iotaLike(-2).equal(x.iotaLike(-1)).where(x, x.mul(2));

function triangular(keeps: (row: Tensor, column: Tensor) => Tensor): MatrixStructure {
  const pack = (x: Tensor): Tensor => keeps(x.iotaLike(1), x.iotaLike(2)).where(x, 0);
  return { pack, unpack: (x) => x, project: (x) => doubled(pack(x)) };
}

/** Packed `[groups, blocks, size, size]`; rows and columns beyond n are zero. */
function blockDiagonal(size: number, n: number): MatrixStructure {
  const count = Math.ceil(n / size);
  const grid = (groups: number): Shape => [groups, count, size, count, size];
  const isOwn = eye(count).reshape([count, 1, count, 1]);
  const beyond = count * size - n;
  const pack = (x: Tensor): Tensor => {
    const [groups] = x.shape as [number];
    return x
      .pad([
        [0, 0],
        [0, beyond],
        [0, beyond],
      ])
      .reshape(grid(groups))
      .mul(isOwn)
      .sum({ axis: 3 });
  };
  const unpack = (blocks: Tensor): Tensor => {
    const [groups] = blocks.shape as [number];
    const all = blocks.expandDims(3).expand(grid(groups)).mul(isOwn);
    return all.reshape([groups, count * size, count * size]).slice([0, 0, 0], [groups, n, n]);
  };
  return { pack, unpack, project: pack };
}

/** Lower triangular; packed `[groups, n]`, the number j on the diagonal j places below the main one. */
function toeplitz(n: number): MatrixStructure {
  const diagonalSums = (x: Tensor): Tensor => {
    const [groups] = x.shape as [number];
    // Rows of 2 n - 1 out of rows of 2 n: each begins one place further to the right than the one above.
    const flat = x
      .flip(2)
      .pad([
        [0, 0],
        [0, 0],
        [0, n],
      ])
      .reshape([groups, 2 * n * n])
      .slice([0, 0], [groups, n * (2 * n - 1)]);
    return flat
      .reshape([groups, n, 2 * n - 1])
      .sum({ axis: 1 })
      .slice([0, n - 1], [groups, 2 * n - 1]);
  };
  const means = (x: Tensor): Tensor => {
    const sums = diagonalSums(x);
    return sums.div(sums.iotaLike(1).cast("f32").neg().add(n));
  };
  return {
    pack: means,
    unpack(numbers) {
      const [groups] = numbers.shape as [number];
      const all = numbers.expandDims(2).expand([groups, n, n]);
      const place = all.iotaLike(1).sub(all.iotaLike(2));
      const taken = numbers.gather(eyeIndex(n), { axis: 1 });
      return place.greaterEqual(0).where(taken, 0);
    },
    project(x) {
      const own = means(x);
      return own.iotaLike(1).equal(0).where(own, own.mul(2));
    },
  };
}

/** How far below the diagonal each element is, 0 above: `[n, n]`. */
const eyeIndex = (n: number): Tensor => {
  const like = eye(n);
  return like.iotaLike(0).sub(like.iotaLike(1)).maximum(0);
};

/** [A B C; 0 D 0; 0 E F] with a diagonal D: packed `[groups, numbers]` in the order A B C, D, E F. */
function hierarchical(blockSize: number, n: number): MatrixStructure {
  const first = Math.min(blockSize, n);
  const last = Math.min(blockSize, n - first);
  const middle = n - first - last;
  const end = first + middle;
  const flat = (x: Tensor): Tensor => x.reshape([x.shape[0] as number, -1]);
  const pack = (x: Tensor): Tensor => {
    const center = () => part(x, [first, end], [first, end]).mul(eye(middle));
    return concat(
      [
        flat(part(x, [0, first], [0, n])),
        ...(middle === 0 ? [] : [center().sum({ axis: 2 })]),
        ...(last === 0 ? [] : [flat(part(x, [end, n], [first, n]))]),
      ],
      { axis: 1 },
    );
  };
  return {
    pack,
    unpack(numbers) {
      const [groups, size] = numbers.shape as [number, number];
      const top = numbers.slice([0, 0], [groups, first * n]).reshape([groups, first, n]);
      const at = (start: number, stop: number): Tensor => numbers.slice([0, start], [groups, stop]);
      const center = () =>
        at(first * n, first * n + middle)
          .expandDims(2)
          .mul(eye(middle));
      const bottom = () => at(first * n + middle, size).reshape([groups, last, n - first]);
      return concat(
        [
          top,
          ...(middle === 0 ? [] : [besideZeros(center(), first, last)]),
          ...(last === 0 ? [] : [besideZeros(bottom(), first, 0)]),
        ],
        { axis: 1 },
      );
    },
    project(x) {
      const isFirst = (at: Tensor) => at.less(first);
      const isLast = (at: Tensor) => at.greaterEqual(end);
      const [row, column] = [x.iotaLike(1), x.iotaLike(2)];
      const isOneSided = isFirst(row)
        .and(isFirst(column).not())
        .or(isLast(row).and(isLast(column).not()));
      return pack(isOneSided.where(x.mul(2), x));
    },
  };
}

const besideZeros = (x: Tensor, before: number, after: number): Tensor =>
  x.pad([
    [0, 0],
    [0, 0],
    [before, after],
  ]);
