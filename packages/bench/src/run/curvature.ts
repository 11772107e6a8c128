import { grad, hvp } from "@thalweg/autograd";
import {
  binaryCrossEntropy,
  type CurvatureProblem,
  crossEntropy,
  kroneckerCurvature,
  meanSquaredError,
  type OutputLoss,
  squaredError,
} from "@thalweg/curvature";
import { type Curvature, type GradientTransformation, type ModelStructure, mapTensors } from "@thalweg/optim";
import { foldIn, iota, type Key, placeholder, stack, type Tensor, treeLeaves } from "@thalweg/tensor";
import {
  type Batch,
  blankBatch,
  type ImageDataset,
  type OutputLossName,
  type Predictor,
  type TensorTree,
  type TestProblem,
} from "@thalweg/workloads";
import { UsageError } from "../errors";

/** A step's loss with its gradient and its curvature, all from one forward pass; only what is read is computed. */
export interface CurvedStep {
  /** With the regularizer. */
  readonly loss: Tensor;
  readonly gradients: TensorTree;
  readonly accuracy: Tensor | undefined;
  /** Factors are those of the loss without the regularizer; quadratic forms contain it. */
  readonly curvature: Curvature;
}

/** Where a step stands. */
export interface CurvedPoint {
  readonly params: TensorTree;
  readonly model: TensorTree;
  readonly batch: Batch;
  /** Of the step's dropout and sampling. */
  readonly key: Key;
}

/** The curvature that an optimizer asks of a problem. */
export interface ProblemCurvature {
  structure(params: TensorTree, model: TensorTree): ModelStructure;
  at(point: CurvedPoint): CurvedStep;
}

interface CurvatureParts {
  readonly problem: TestProblem;
  readonly dataset: ImageDataset;
  readonly optimizer: GradientTransformation;
  readonly l2: number;
}

const outputLosses: Readonly<Record<OutputLossName, OutputLoss>> = {
  crossEntropy,
  squaredError,
  meanSquaredError,
  binaryCrossEntropy,
};

/** An example with its place in the batch, from which its own dropout follows. (A type, so that it counts as a tree.) */
type Example = { readonly inputs: Tensor; readonly place: Tensor };

/**
 * What an optimizer asks for with `rule.curvature`; undefined if it asks for nothing.
 *
 * @throws UsageError for problems whose loss is no function of outputs and targets, or whose examples see each other.
 */
export function problemCurvature({ problem, dataset, optimizer, l2 }: CurvatureParts): ProblemCurvature | undefined {
  const { curvature: request, name } = optimizer.rule;
  if (request === undefined) return undefined;
  const { predictor } = problem;
  if (predictor === undefined) {
    throw new UsageError(
      `${name} needs the curvature of ${problem.name}, whose loss sees more than outputs and targets. Use an optimizer without.`,
    );
  }
  if (problem.coupled) {
    throw new UsageError(
      `${name} needs the curvature of single examples, and those of ${problem.name} see their batch. Use an optimizer without.`,
    );
  }
  const penalty = (params: TensorTree): Tensor => problem.regularizer(params, l2);
  const curvatureAt = ({ params, model, batch, key }: CurvedPoint) => {
    const examples = examplesOf(predictor, batch);
    return { examples, ...kroneckerCurvature(asCurvatureProblem(predictor, model, key), params, examples, request) };
  };
  return {
    structure(params, model) {
      const { blocks } = curvatureAt({ params, model, batch: blankBatch(dataset, 1), key: placeholder([2], "u32") });
      return { blocks };
    },
    at(point) {
      const { params, batch } = point;
      const { examples, evaluate } = curvatureAt(point);
      const evaluation = evaluate(params, examples, { key: foldIn(point.key, drawsPart) });
      return {
        get loss() {
          return evaluation.loss.add(penalty(params));
        },
        get gradients() {
          if (l2 === 0) return evaluation.gradients;
          return mapTensors((own, other) => own.add(other), evaluation.gradients, grad(penalty)(params));
        },
        get accuracy() {
          const { outputs } = evaluation;
          const shape = [...examples.targets.shape, outputs.shape.at(-1) as number];
          return predictor.accuracy?.(outputs.reshape(shape), predictor.targets(batch));
        },
        curvature: {
          blocks: evaluation.blocks,
          get factors() {
            return evaluation.factors;
          },
          correct: (bases) => evaluation.correct(bases),
          forms(directions) {
            const forms = evaluation.forms(directions);
            if (l2 === 0) return forms;
            const turned = directions.map((direction) => hvp(penalty, params, direction));
            return forms.add(stack(directions.map((row) => stack(turned.map((column) => product(row, column))))));
          },
        },
      };
    },
  };
}

/** Part of the step's key from which the targets are drawn that the curvature asks for. */
const drawsPart = 0x6472_6177;

const product = (a: TensorTree, b: TensorTree): Tensor => {
  const others = treeLeaves<Tensor>(b);
  return treeLeaves<Tensor>(a)
    .map((x, index) => x.mul(others[index] as Tensor).sum())
    .reduce((sum, own) => sum.add(own));
};

const examplesOf = (predictor: Predictor, batch: Batch): { inputs: Example; targets: Tensor } => {
  const inputs = predictor.inputs(batch);
  const place = iota([inputs.shape[0] as number], 0, "u32");
  return { inputs: { inputs, place }, targets: predictor.targets(batch) };
};

const asCurvatureProblem = (
  predictor: Predictor,
  model: TensorTree,
  key: Key,
): CurvatureProblem<TensorTree, Example> => ({
  loss: outputLosses[predictor.loss],
  model: (params, { inputs, place }) =>
    predictor.outputs(params, model, inputs, "train", foldIn(key, place.reshape([]))),
});
