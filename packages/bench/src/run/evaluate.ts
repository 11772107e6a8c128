import { type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { batchCount, type DataTensors } from "@thalweg/workloads";
import type { Phase, PhaseResult } from "../records/schema";
import { emptySums, type Programs, type RunKeys, type TrainingState } from "./programs";

/** Result of an evaluation. */
export interface EvaluationResult {
  readonly regularizer: number;
  readonly phases: Readonly<Partial<Record<Phase, PhaseResult>>>;
}

/** Means over the full batches of the phases, in evaluation mode. Phases without examples are left out. */
export async function evaluatePhases(
  { parts, evaluate, evaluationPoint, regularizer }: Programs,
  { params: trained, optimizer, model }: TrainingState,
  data: DataTensors,
  keys: RunKeys,
  wanted: readonly Phase[],
): Promise<EvaluationResult> {
  const { dataset, batchSize, problem } = parts;
  const params = evaluationPoint(optimizer, trained);
  using penalty = regularizer(params);
  const pending: { readonly phase: Phase; readonly batches: number; readonly sums: ReturnType<typeof evaluate> }[] = [];
  for (const phase of wanted) {
    const { start, count } = dataset.splits[phase];
    if (count === 0) continue;
    const batches = batchCount(dataset, phase, batchSize);
    const from = tensor(Uint32Array.of(start)).reshape([]);
    let sums = emptySums();
    for (let batch = 0; batch < batches; batch++) sums = evaluate(sums, params, model, data, from, keys.evaluation);
    pending.push({ phase, batches, sums });
  }
  // All work is queued; only now does anything wait.
  const penaltyValue = await penalty.item();
  const results: Partial<Record<Phase, PhaseResult>> = {};
  for (const { phase, batches, sums } of pending) {
    const [loss = Number.NaN, accuracy = Number.NaN] = await sums.sums.data();
    const dataLoss = loss / batches;
    results[phase] = {
      loss: dataLoss + penaltyValue,
      dataLoss,
      accuracy: problem.metric === "accuracy" ? accuracy / batches : null,
    };
    sums.sums.dispose();
    sums.batch.dispose();
  }
  // The point may be the parameters of training, or an average that the optimizer keeps.
  const kept = new Set(treeLeaves<Tensor>([trained, optimizer]));
  for (const leaf of treeLeaves<Tensor>(params)) if (!kept.has(leaf)) leaf.dispose();
  return { regularizer: penaltyValue, phases: results };
}
