/** The networks of the derivative files as problems of this package. */
import { vmap } from "@thalweg/autograd";
import type { Tensor } from "@thalweg/tensor";
import {
  type DerivativeOracle,
  loadAll,
  type Params,
  type RunOptions,
  runModel,
} from "../../autograd/test/derivative-oracles";
import { binaryCrossEntropy, type CurvatureProblem, crossEntropy, meanSquaredError } from "../src/index";

/** The problem of a file: its losses of examples are sums of terms, see {@link termsOf}; and the output for one example. */
export function derivativeProblem(
  { model, loss, buffers = {} }: Pick<DerivativeOracle, "model" | "loss" | "buffers">,
  options: RunOptions = {},
) {
  const constants = loadAll(buffers);
  const output = (q: Params, example: Tensor): Tensor =>
    runModel(model.layers, { ...constants, ...q }, example, options);
  const isEntropy = loss.kind === "crossEntropy";
  const losses = { crossEntropy, meanSquaredError, binaryCrossEntropy };
  const problem: CurvatureProblem<Params> = {
    loss: losses[loss.kind as keyof typeof losses],
    model: (q, inputs) =>
      vmap((x: Tensor) => {
        const own = output(q, x);
        return isEntropy ? own.moveAxis(0, -1) : own.flatten();
      })(inputs),
  };
  return { problem, output };
}

/** The loss of an example is a mean over its terms, or over its outputs, where ours is a sum. */
export function termsOf(kind: string, outputs: Tensor): number {
  if (kind === "meanSquaredError") return 1;
  const own = outputs.size / (outputs.shape[0] as number);
  return kind === "crossEntropy" ? own / (outputs.shape.at(-1) as number) : own;
}
