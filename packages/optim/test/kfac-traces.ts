import { type CurvatureProblem, crossEntropy } from "@thalweg/curvature";
import { type Tensor, tensor } from "@thalweg/tensor";

interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: readonly number[];
  readonly dtype?: "i32";
}

/** A run of full-batch steps on a multilayer perceptron with cross entropy. */
export interface TraceOracle {
  readonly format: string;
  readonly model: { readonly config: { readonly dims: readonly number[]; readonly act: string } };
  readonly params: Readonly<Record<string, StoredTensor>>;
  readonly inputs: StoredTensor;
  readonly targets: StoredTensor;
  readonly hyperparameters: Readonly<Record<string, unknown>>;
  readonly trace: readonly { readonly loss: number }[];
  readonly finalParams: Readonly<Record<string, StoredTensor>>;
}

export type Params = Readonly<Record<string, Tensor>>;

const load = ({ shape, data, dtype }: StoredTensor): Tensor =>
  tensor(dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data), { shape });

/** The problem of a trace, with its data. */
export function traceProblem({ model, params, inputs, targets }: TraceOracle) {
  const layers = model.config.dims.length - 1;
  const problem: CurvatureProblem<Params> = {
    loss: crossEntropy,
    model: (own, x) =>
      Array.from({ length: layers }).reduce<Tensor>((value, _, layer) => {
        const y = value.dot(own[`l${layer}.W`] as Tensor, { contract: [[1], [1]] }).add(own[`l${layer}.b`] as Tensor);
        return layer < layers - 1 ? y.tanh() : y;
      }, x),
  };
  const start: Params = Object.fromEntries(Object.entries(params).map(([name, value]) => [name, load(value)]));
  return { problem, start, batch: { inputs: load(inputs), targets: load(targets) } };
}
