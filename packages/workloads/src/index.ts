// Test problems.

export { describeProblem, parameterCount } from "./describe";
export type {
  LayerDescription,
  Losses,
  Mode,
  OutputLossName,
  ParameterDescription,
  Predictor,
  ProblemDefaults,
  TensorTree,
  TestProblem,
} from "./problem";
export { findProblem, problems } from "./problems/registry";

// Batches on the device.

export {
  type Batch,
  batchCount,
  blankBatch,
  type DataTensors,
  type Divided,
  datasetTensors,
  gatherBatch,
  type PhasePosition,
  phaseIndices,
  type TrainingPosition,
  trainingIndices,
} from "./batching";

// Data sets.

export { loadDigits } from "./datasets/digits";
export { type GeneratedDigits, type GenerateOptions, generateDigits } from "./datasets/digits/generate";
export { loadFmnist } from "./datasets/fmnist";
export type { ImageDataset, LoadOptions, Phase, Range, Splits, SplitVersion } from "./datasets/image-dataset";
export { loadMnist } from "./datasets/mnist";
export { type DatasetName, type DatasetRecord, datasets, loadDataset } from "./datasets/registry";

// Files: where they come from, how they are read, what can be wrong with them.

export { DataError, type DataProblem, type FileContext } from "./errors";
export { sha256, unpackVerified } from "./fetch/checksum";
export {
  type DataFile,
  type DataSource,
  dataSources,
  type FileReader,
  fetchHint,
  type IdxRole,
  type IdxSource,
  type SourceName,
} from "./fetch/sources";
export { type WebFilesOptions, webFiles } from "./fetch/web";
export { type CifarOptions, type CifarRecords, parseCifar } from "./formats/cifar";
export { gunzip, isGzip } from "./formats/gzip";
export { type IdxArray, type IdxOptions, parseIdx } from "./formats/idx";
export { parseTar, type TarEntry } from "./formats/tar";
export { parseText, type TextOptions } from "./formats/text";
