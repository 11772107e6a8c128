import type { InspectedMoment } from "@thalweg/bench";
import { type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import type { ImageDataset } from "@thalweg/workloads";
import type { PredictionsUpdate } from "./protocol";

/** Images that are shown with predictions: the first ones of the test set. */
const shownImages = 24;

/** What the model says at this moment of the first test images; undefined where a problem has no classes to show. */
export async function readPredictions(moment: InspectedMoment): Promise<PredictionsUpdate | undefined> {
  const { programs, configuration, step, state, data, keys } = moment;
  const { problem, dataset } = programs.parts;
  const { start, count } = dataset.splits.test;
  const shown = Math.min(shownImages, count);
  if (problem.predictor?.loss !== "crossEntropy" || shown === 0) return undefined;
  using indices = tensor(Uint32Array.from({ length: shown }, (_, index) => start + index));
  const params = programs.evaluationPoint(state.optimizer, state.params);
  const { outputs, targets } = programs.predict(params, state.model, data, indices, keys.evaluation);
  const logits = Array.from(await outputs.data());
  // The point may be the parameters of training, or an average that the optimizer keeps: those stay.
  const kept = new Set(treeLeaves<Tensor>([state.params, state.optimizer]));
  const made = treeLeaves<Tensor>(params).filter((leaf) => !kept.has(leaf));
  for (const leaf of [outputs, targets, ...made]) leaf.dispose();
  const classes = logits.length / shown;
  const rows = Array.from({ length: shown }, (_, index) => logits.slice(index * classes, (index + 1) * classes));
  const predicted = rows.map((row) => row.indexOf(Math.max(...row)));
  const [height, width] = dataset.shape;
  return {
    configuration,
    step,
    shape: [height, width],
    images: imagesOf(dataset, start, shown),
    labels: Array.from(dataset.labels.subarray(start, start + shown)),
    predicted,
    confidence: rows.map((row, index) => softmaxAt(row, predicted[index] as number)),
  };
}

/** The grey values of some images; of colour images, the first channel. */
function imagesOf({ images, shape }: ImageDataset, first: number, count: number): Uint8Array {
  const [rows, columns, channels] = shape;
  const pixels = rows * columns;
  return Uint8Array.from(
    { length: count * pixels },
    (_, index) => images[(first * pixels + index) * channels] as number,
  );
}

function softmaxAt(logits: readonly number[], index: number): number {
  const largest = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return Math.exp((logits[index] as number) - largest) / sum;
}
