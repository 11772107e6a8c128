// The everyday surface: what most programs need, from one place. All else is in the packages themselves.

// Tensors.

export {
  arange,
  bernoulli,
  compile,
  concat,
  type DType,
  evaluate,
  eye,
  foldIn,
  full,
  init,
  type Key,
  key,
  normal,
  oneHot,
  ones,
  onesLike,
  type Program,
  permutation,
  requestDevice,
  type Shape,
  scalar,
  scope,
  split,
  splitKeys,
  stack,
  Tensor,
  ThalwegError,
  type Tree,
  tensor,
  treeLeaves,
  treeMap,
  treeReduce,
  uniform,
  where,
  zeros,
  zerosLike,
} from "@thalweg/tensor";

// Derivatives.

export { grad, hessian, hvp, jacobian, jvp, linearize, stopGradient, valueAndGrad, vjp, vmap } from "@thalweg/autograd";

// Per-sample quantities, Kronecker factors, curvature operators.

export * as curvature from "@thalweg/curvature";

// Models, losses, initialisers.

export * as nn from "@thalweg/nn";

// Optimizers and schedules.

export * as optim from "@thalweg/optim";

// Data and test problems.

export { findProblem, loadDataset, problems, type TestProblem } from "@thalweg/workloads";
