import { hvp, valueAndGrad } from "@thalweg/autograd";
import { compile, full, type Tensor, treeLeaves, treeMap } from "@thalweg/tensor";
import {
  applyUpdates,
  type Extra,
  type GradientTransformation,
  type OptimizerRecord,
  type OptimizerState,
  type Refresh,
  type TensorTree,
} from "../src/index";

export interface TrainingState<P> {
  readonly params: P;
  readonly optimizer: OptimizerState;
}

export const begin = <P>(optimizer: GradientTransformation, params: P): TrainingState<P> => ({
  params: treeMap((x: Tensor) => x.add(0), params) as P,
  optimizer: optimizer.init(params),
});

/** The part of some options that a record knows. */
export const knownOptions = ({ hyperparameters }: OptimizerRecord, options: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(hyperparameters, name)));

/** All that a rule can ask for. The curvature is exact where the loss is a sum over elements. */
export function extrasOf<P>(
  loss: (params: P) => Tensor,
  params: P,
): Required<Omit<Extra, "refresh" | "perSample" | "kronecker">> {
  const ones = treeMap((x: Tensor) => full(x.shape, 1), params) as P;
  return {
    loss: loss(params),
    valueAndGrad: (point) => valueAndGrad(loss)(point as P) as unknown as readonly [Tensor, TensorTree],
    curvatureDiagonal: () => hvp(loss, params, ones) as TensorTree,
  };
}

/** Training on a loss: what a loop would do, with two programs for optimizers that refresh. */
export function training<P>(optimizer: GradientTransformation, loss: (params: P) => Tensor) {
  const program = compile(
    ({ params, optimizer: own }: TrainingState<P>, refresh: Refresh): TrainingState<P> => {
      const [, gradients] = valueAndGrad(loss)(params);
      const extra = { ...extrasOf(loss, params), refresh };
      const [updates, next] = optimizer.update(gradients as P, own, params, extra);
      return { params: applyUpdates(params, updates), optimizer: next };
    },
    { donate: [0] },
  );
  /** The states after the steps from `start` to `end`. */
  const run = (state: TrainingState<P>, start: number, end: number): TrainingState<P> => {
    let own = state;
    for (let step = start; step < end; step++) own = program(own, optimizer.refreshesAt(step));
    return own;
  };
  return { run, program };
}

export const numbers = (tree: unknown): Promise<number[][]> =>
  Promise.all(treeLeaves<Tensor>(tree).map(async (leaf) => Array.from(await leaf.data())));
