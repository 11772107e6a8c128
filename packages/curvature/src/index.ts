export {
  binaryCrossEntropy,
  convexLoss,
  crossEntropy,
  meanSquaredError,
  type OutputLoss,
  squaredError,
} from "./output-loss";
export { type Batch, type CurvatureProblem, exampleLosses, problemLoss } from "./problem";
