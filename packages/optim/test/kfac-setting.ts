import { type CurvatureProblem, crossEntropy, kroneckerCurvature } from "@thalweg/curvature";
import { key, normal, type Tensor, tensor } from "@thalweg/tensor";
import {
  applyUpdates,
  type GradientTransformation,
  type OptimizerState,
  type Refresh,
  type TensorTree,
} from "../src/index";

export type Params = Readonly<Record<string, Tensor>>;

export const at = (p: Params, name: string) => p[name] as Tensor;

/** A perceptron with a scale and a shift behind its hidden layer. */
export const perceptron: CurvatureProblem<Params> = {
  loss: crossEntropy,
  model: (p, x) =>
    x
      .dot(at(p, "w1"))
      .add(at(p, "b1"))
      .tanh()
      .mul(at(p, "scale"))
      .add(at(p, "shift"))
      .dot(at(p, "w2"))
      .add(at(p, "b2")),
};
export const start = (): Params => ({
  w1: normal(key(1), [6, 8]).mul(0.4),
  b1: tensor(new Float32Array(8)),
  scale: tensor(new Float32Array(8).fill(1)),
  shift: tensor(new Float32Array(8)),
  w2: normal(key(2), [8, 3]).mul(0.4),
  b2: tensor(new Float32Array(3)),
});
/** Made anew for each use: tensors that the device has evaluated are none for the float64 reference. */
export const usualBatch = () => ({
  inputs: normal(key(3), [24, 6]),
  targets: tensor(Int32Array.from({ length: 24 }, (_, index) => (index * 7) % 3)),
});
export const curvature = kroneckerCurvature(perceptron, start(), usualBatch(), { fisher: "type2" });

export type State = { readonly params: Params; readonly own: OptimizerState };

export interface Setting {
  readonly problem?: CurvatureProblem<Params>;
  readonly params?: Params;
  readonly inputs?: Tensor;
  readonly targets?: Tensor;
}

/** One step on one batch, as a loop would write it. */
export function stepOf(optimizer: GradientTransformation, setting: Setting) {
  const usual = usualBatch();
  const { problem = perceptron, params = start(), inputs: examples = usual.inputs, targets = usual.targets } = setting;
  const request = { ...optimizer.rule.curvature, fisher: "type2" } as const;
  const own = kroneckerCurvature(problem, params, { inputs: examples, targets }, request);
  const step = (state: State, x: Tensor, refresh: Refresh) => {
    const given = { inputs: x, targets };
    const evaluation = own.evaluate(state.params, given);
    const [updates, next] = optimizer.update(evaluation.gradients, state.own, state.params, {
      loss: evaluation.loss,
      valueAndGrad(point) {
        const other = own.evaluate(point as Params, given);
        return [other.loss, other.gradients as TensorTree];
      },
      kronecker: evaluation,
      refresh,
    });
    return [{ params: applyUpdates(state.params, updates), own: next }, evaluation.loss] as const;
  };
  return { step, examples, begin: (): State => ({ params, own: optimizer.init(params, own) }) };
}
