import { adaptiveRecords } from "./algorithms/adaptive";
import { momentumRecord } from "./algorithms/momentum";
import { nesterovRecord } from "./algorithms/nesterov";
import { nonDiagonalRecords } from "./algorithms/non-diagonal";
import { rateFreeRecords } from "./algorithms/rate-free";
import { sgdRecord } from "./algorithms/sgd";
import { furtherAdaptiveRecords, layerwiseRecords, signRecords } from "./algorithms/sign-and-layerwise";
import { averagingRecords } from "./algorithms/wrapped";
import type { OptimizerRecord } from "./optimizer-record";

const records: readonly OptimizerRecord[] = [
  sgdRecord,
  momentumRecord,
  nesterovRecord,
  ...adaptiveRecords,
  ...furtherAdaptiveRecords,
  ...signRecords,
  ...layerwiseRecords,
  ...nonDiagonalRecords,
  ...averagingRecords,
  ...rateFreeRecords,
];

/** Every optimizer by name. Command lines, documents and generic tests read this. */
export const optimizers: Readonly<Record<string, OptimizerRecord>> = Object.fromEntries(
  records.map((record) => [record.name, record]),
);
