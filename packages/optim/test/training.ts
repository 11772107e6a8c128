import { hvp, valueAndGrad } from "@thalweg/autograd";
import { type Factors, type Inverses, kroneckerCurvature, squaredError } from "@thalweg/curvature";
import { compile, concat, full, stack, type Tensor, treeFlatten, treeLeaves, treeMap } from "@thalweg/tensor";
import {
  applyUpdates,
  type Curvature,
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
  optimizer: optimizer.init(params, structureOf(params)),
});

/** What is known of a model whose matrices are layers and whose vectors are nothing: for rules that need the curvature. */
export function structureOf<P>(params: P) {
  const outputs = (own: P, inputs: Tensor): Tensor =>
    concat(
      treeLeaves<Tensor>(own).map((x) =>
        x.rank === 2 ? inputs.expand([1, x.shape[0] as number]).dot(x) : x.reshape([1, -1]),
      ),
      { axis: 1 },
    );
  const inputs = full([1, 1], 1);
  const batch = { inputs, targets: outputs(params, inputs).zerosLike() };
  return kroneckerCurvature<P, Tensor>({ model: outputs, loss: squaredError }, params, batch);
}

/** The curvature of a loss that is a sum over elements, whose Hessian is a diagonal: in the shape of {@link structureOf}. */
function curvatureOf<P>(loss: (params: P) => Tensor, params: P): Curvature {
  const { blocks } = structureOf(params);
  const ones = treeMap((x: Tensor) => full(x.shape, 1), params) as P;
  const { leaves: diagonal } = treeFlatten<Tensor>(hvp(loss, params, ones));
  const onDiagonal = (x: Tensor): Tensor => {
    const square = x.expandDims(1).expand([x.size, x.size]);
    return square.iotaLike(0).equal(square.iotaLike(1)).where(square, 0);
  };
  const valuesOf = (name: string): Tensor => {
    const block = blocks.find((own) => own.name === name);
    const index =
      block?.kind === "kronecker" ? block.weight.index : block?.kind === "diagonal" ? block.parameter.index : -1;
    return diagonal[index] as Tensor;
  };
  const factors: Factors = Object.fromEntries(
    blocks.map(({ kind, name }) => {
      const own = valuesOf(name);
      if (kind === "diagonal") return [name, { diagonal: own }];
      const mean = own.mean().maximum(1e-12);
      return [name, { a: onDiagonal(own.mean({ axis: 1 })).div(mean), b: onDiagonal(own.mean({ axis: 0 })) }];
    }),
  );
  return {
    blocks,
    factors,
    correct: (bases: Inverses) =>
      Object.fromEntries(
        Object.entries(bases).map(([name, basis]) => {
          if (!("values" in basis) || basis.qa === null) return [name, basis];
          const turned = basis.qb.square().transpose().matmul(valuesOf(name).transpose().expandDims(0));
          return [name, { ...basis, values: turned.matmul(basis.qa.square()) }];
        }),
      ),
    forms(directions) {
      const flat = directions.map((direction) => treeLeaves<Tensor>(direction));
      const product = (a: readonly Tensor[], b: readonly Tensor[]): Tensor =>
        diagonal
          .map((h, index) =>
            h
              .mul(a[index] as Tensor)
              .mul(b[index] as Tensor)
              .sum(),
          )
          .reduce((sum, own) => sum.add(own));
      return stack(flat.map((row) => stack(flat.map((column) => product(row, column)))));
    },
  };
}

/** The part of some options that a record knows. */
export const knownOptions = ({ hyperparameters }: OptimizerRecord, options: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(hyperparameters, name)));

/** All that a rule can ask for. The curvature is exact where the loss is a sum over elements. */
export function extrasOf<P>(loss: (params: P) => Tensor, params: P): Required<Omit<Extra, "refresh" | "perSample">> {
  const ones = treeMap((x: Tensor) => full(x.shape, 1), params) as P;
  return {
    loss: loss(params),
    valueAndGrad: (point) => valueAndGrad(loss)(point as P) as unknown as readonly [Tensor, TensorTree],
    curvatureDiagonal: () => hvp(loss, params, ones) as TensorTree,
    kronecker: curvatureOf(loss, params),
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
