/** The records of linear algebra. They may expand to loops, which are made of tensors: `Tensor` does not know them. */
export { cholesky } from "./cholesky";
export { eigh } from "./eigh";
export { inverseRoot } from "./inverse-root";
export { triangularSolve } from "./triangular-solve";
