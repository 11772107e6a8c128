import { constant, dense, flatten } from "../models/network";
import type { TestProblem } from "../problem";
import { classification } from "./classification";
import type { Twin } from "./twins";

/** Multinomial logistic regression: one dense layer that starts at zero. 7,850 parameters. */
export function logreg({ prefix, ...data }: Twin): TestProblem {
  const zeros = { kernel: constant(0), bias: constant(0) };
  return classification({
    name: `${prefix}_logreg`,
    title: `logistic regression on ${data.title}`,
    version: "1.2.0",
    dataset: data.dataset,
    defaults: { batchSize: 128, epochs: 50, l2: 0 },
    inputShape: data.shape,
    layers: { flatten, dense: dense(data.classes, zeros) },
  });
}
