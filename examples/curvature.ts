// What a model's curvature looks like: Kronecker factors found in the graph, statistics of single examples, a spectrum, and the
// evidence for a prior.
import {
  crossEntropy,
  ggnOperator,
  kroneckerCurvature,
  laplace,
  perSampleGradients,
  perSampleStatistics,
  selectHyperparameters,
  spectralDensity,
} from "@thalweg/curvature";
import { init, key, normal, scalar, type Tensor, tensor } from "@thalweg/tensor";

await init();

// A model of plain tensor operations; nothing has to be said about its layers.
const params = { w: normal(key(0), [4, 8]).mul(0.5), b: normal(key(1), [8]), head: normal(key(2), [8, 3]).mul(0.5) };
type Params = typeof params;
const model = (p: Params, x: Tensor): Tensor => x.dot(p.w).add(p.b).tanh().dot(p.head);
const batch = { inputs: normal(key(3), [16, 4]), targets: tensor(Int32Array.from({ length: 16 }, (_, n) => n % 3)) };
const problem = { model, loss: crossEntropy };

const curvature = kroneckerCurvature(problem, params, batch);
console.log(curvature.report());

const lossOf = (p: Params, { inputs, targets }: typeof batch): Tensor =>
  crossEntropy.value(model(p, inputs.expandDims(0)), targets.expandDims(0)).sum();
const { squaredNorm, variance } = perSampleStatistics(perSampleGradients(lossOf, params, batch));
console.log("largest gradient of an example:", (await squaredNorm.max().sqrt().item()).toFixed(3));
console.log("noise in the head:", (await variance.head.sum().item()).toFixed(4));

const { grid, density } = await spectralDensity(ggnOperator(problem, params, batch), { key: key(4), steps: 20 });
const peak = grid[density.indexOf(Math.max(...density))] as number;
console.log(`most eigenvalues are near ${peak.toFixed(3)}, the largest near ${(grid.at(-1) as number).toFixed(3)}`);

const posterior = laplace(problem, params, batch);
const { logEvidence } = await selectHyperparameters(posterior, { logPriorPrecision: scalar(0) }, { steps: 20 });
console.log("log evidence:", logEvidence.at(0)?.toFixed(2), "to", logEvidence.at(-1)?.toFixed(2));
