import { concat } from "../../primitives/concat";
import { type Aval, definePrimitive } from "../../primitives/definition";
import { type NdArray, ndarray } from "../../reference/array";
import { jacobi } from "../../reference/jacobi";
import { sizeOf } from "../../shape";
import type { Tensor } from "../../tensor";
import { diagonalized } from "../jacobi";
import { checkSquare, nanUnlessFinite, onDiagonal, part, stacked, symmetrized, unstacked } from "../matrix";

/**
 * Eigenvalues, ascending, and orthonormal eigenvectors of the symmetric (A + Aᵀ) / 2, `[…, n, n]` to `[…, n + 1, n]`: the
 * first row has the eigenvalues, below stand the eigenvectors in columns, each with its largest component positive.
 * All NaN where an element of A is not finite.
 */
export const eigh = definePrimitive<undefined>({
  name: "eigh",
  shape([a]) {
    const { shape } = a as Aval;
    checkSquare("eigh", a as Aval);
    const n = shape.at(-1) as number;
    return { shape: [...shape.slice(0, -2), n + 1, n], dtype: "f32" };
  },
  lowering: {
    kind: "composite",
    expand([a]) {
      const input = a as Tensor;
      const leading = input.shape.slice(0, -2);
      const n = input.shape.at(-1) as number;
      if (input.size === 0) return packed(input.slice([], [...leading, Math.min(n, 1)]), input);
      const symmetric = symmetrized(stacked(input));
      const { values, vectors } = diagonalized(symmetric);
      const order = values.argsort({ axis: -1 });
      const columns = vectors.gatherAlong(order.expandDims(-2).expand(vectors.shape), { axis: -1 });
      const magnitude = columns.abs();
      const first = magnitude.argmax({ axis: -2, keepDims: true });
      const largest = columns.iotaLike(1).equal(first).where(columns, 0).sum({ axis: -2, keepDims: true });
      const directed = largest.less(0).where(columns.neg(), columns);
      const result = packed(values.gatherAlong(order, { axis: -1 }).expandDims(-2), directed);
      return unstacked(nanUnlessFinite(symmetric, result), leading);
    },
  },
  reference([a], _params, output) {
    const { values } = a as NdArray;
    const n = output.shape.at(-1) as number;
    const result = ndarray(output.shape, output.dtype, () => 0);
    for (let index = 0; index < sizeOf(output.shape.slice(0, -2)); index++) {
      const eigen = jacobi(values.subarray(index * n * n, (index + 1) * n * n), n);
      result.values.set(eigen, index * n * (n + 1));
    }
    return result;
  },
  vjp(cotangent, { output }) {
    // Ā = V (diag(λ̄) + F ∘ (Vᵀ V̄)) Vᵀ, symmetrised.
    const { vectors, gaps } = unpacked(output);
    const { values: valueCotangent, vectors: vectorCotangent } = unpacked(cotangent);
    const inner = onDiagonal(gaps).where(
      valueCotangent.expand(gaps.shape),
      gaps.mul(vectors.transpose().matmul(vectorCotangent)),
    );
    return [symmetrized(vectors.matmul(inner).matmul(vectors.transpose()))];
  },
  jvp([tangent], { output }) {
    if (!tangent) return null;
    // λ̇ = diag(Vᵀ Ȧ V), V̇ = V (F ∘ (Vᵀ Ȧ V)).
    const { vectors, gaps } = unpacked(output);
    const turned = vectors.transpose().matmul(symmetrized(tangent)).matmul(vectors);
    const values = onDiagonal(turned).where(turned, 0).sum({ axis: -2, keepDims: true });
    return packed(values, vectors.matmul(gaps.mul(turned)));
  },
  batch: ([a], { params, bind }) => bind([a as Tensor], params),
  sample(draw) {
    const n = draw.integer(1, 6);
    const shape = [...draw.shape({ rank: [0, 2], extent: [1, 3] }), n, n];
    return { inputs: [{ shape, dtype: "f32", structure: "symmetric" }], params: undefined };
  },
});

const packed = (values: Tensor, vectors: Tensor): Tensor =>
  vectors.bind(concat, [values, vectors], { axis: vectors.rank - 2 });

/** F_ij = 1 / (λ_j - λ_i), and 0 where eigenvalues are equal: there is no derivative of their vectors. */
function unpacked(output: Tensor): { readonly values: Tensor; readonly vectors: Tensor; readonly gaps: Tensor } {
  const n = output.shape.at(-1) as number;
  const values = part(output, [0, 1], [0, n]);
  const vectors = part(output, [1, n + 1], [0, n]);
  const difference = values.sub(values.transpose());
  const gaps = difference.equal(0).where(0, difference.equal(0).where(1, difference).reciprocal());
  return { values, vectors, gaps };
}
