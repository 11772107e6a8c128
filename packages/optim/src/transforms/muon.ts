import {
  ArgumentError,
  formatShape,
  linalg,
  type Tensor,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
} from "@thalweg/tensor";
import { decayConstant } from "../constant";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "./average";
import { stacksOf } from "./stacks";

export interface MuonScalingOptions {
  /** Retained fraction of the average, in [0, 1). */
  readonly momentum: number | Schedule;
  /** Looks ahead along the average. Default true. */
  readonly nesterov?: boolean;
  /** Steps of Newton and Schulz's iteration. Default 5. */
  readonly steps?: number;
  /**
   * Factor on the orthogonal matrix: √max(1, outputs / inputs), or 0.2 √max(outputs, inputs), which gives updates the size of
   * AdamW's. Default `"original"`.
   */
  readonly scale?: "original" | "matchRmsAdamw";
  /** The axis of outputs: the last one in this library's layers, the first one in PyTorch's. Default `"last"`. */
  readonly outputAxis?: "first" | "last";
}

/**
 * Orthogonalises the average gradient of every matrix; a kernel of higher rank is a matrix of outputs by all the rest.
 * Matrices of one shape are computed together.
 *
 * @see Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024
 * @see Liu et al., Muon is Scalable for LLM Training, 2025, for `"matchRmsAdamw"`
 */
export function scaleByMuon(options: MuonScalingOptions): GradientTransformation {
  const { momentum, nesterov = true, steps = 5, scale = "original", outputAxis = "last" } = options;
  const owner = "scaleByMuon";
  checkSteps(`${owner}: steps`, steps, 1);
  const sizes = (shape: readonly number[]): readonly [rows: number, columns: number] => {
    if (shape.length < 2) {
      throw new ArgumentError(
        `${owner}: a parameter of shape ${formatShape(shape)} is no matrix. Leave it to another rule: partition({ matrix: …, rest: … }, …).`,
      );
    }
    const size = shape.reduce((product, length) => product * length, 1);
    const edge = (outputAxis === "first" ? shape[0] : shape.at(-1)) as number;
    return outputAxis === "first" ? [edge, size / edge] : [size / edge, edge];
  };
  const factor = (rows: number, columns: number): number => {
    const [outputs, inputs] = outputAxis === "first" ? [rows, columns] : [columns, rows];
    return scale === "original" ? Math.sqrt(Math.max(1, outputs / inputs)) : 0.2 * Math.sqrt(Math.max(outputs, inputs));
  };
  return transformation<{ readonly moment: TensorTree }>({
    name: owner,
    constants: [decayConstant(owner, "momentum", momentum)],
    init: (params) => {
      for (const { shape } of treeLeaves<Tensor>(params)) sizes(shape);
      return { moment: treeZeros(params) };
    },
    update: (gradients, buffers, { constant: numbers }) => {
      const average = numbers("momentum");
      const moment = updateAverage(average, buffers.moment, gradients);
      const ahead = nesterov ? updateAverage(average, moment, gradients) : moment;
      const { leaves, structure } = treeFlatten<Tensor>(ahead);
      const matrices = leaves.map((leaf) => leaf.reshape(sizes(leaf.shape)));
      const stacks = stacksOf(matrices.map(({ shape }) => shape));
      const orthogonal = stacks.unstacked(
        stacks.stacked(matrices).map((own) => {
          const [rows, columns] = own.shape.slice(1) as [number, number];
          // The largest element is scaled to 1 before, so that no more is needed to keep a norm from 0.
          return linalg.newtonSchulz(own, { steps, epsilon: 1e-30 }).mul(factor(rows, columns));
        }),
      );
      const updates = orthogonal.map((own, index) => own.reshape((leaves[index] as Tensor).shape));
      return [treeUnflatten(structure, updates) as TensorTree, { moment }];
    },
  });
}
