import { adaptiveRecords } from "./algorithms/adaptive";
import { momentumRecord } from "./algorithms/momentum";
import { nesterovRecord } from "./algorithms/nesterov";
import { rpropRecord } from "./algorithms/rprop";
import { sgdRecord } from "./algorithms/sgd";
import type { OptimizerRecord } from "./optimizer-record";

const records: readonly OptimizerRecord[] = [
  sgdRecord,
  momentumRecord,
  nesterovRecord,
  rpropRecord,
  ...adaptiveRecords,
];

/** Every optimizer by name. Command lines, documents and generic tests read this. */
export const optimizers: Readonly<Record<string, OptimizerRecord>> = Object.fromEntries(
  records.map((record) => [record.name, record]),
);
