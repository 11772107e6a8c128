// Comparing training algorithms.

// Errors.

export { RecordError, UsageError } from "./errors";
export { type Draw, drawHyperparameters } from "./protocols/search";
export { type StandardRace, standardOptimizers, standardRaces } from "./protocols/standard";
export { type RaceOptions, type RaceResult, race } from "./race";

// Records: what is kept of a run.

export { configurationId, decodeLine, encodeLine } from "./records/codec";
export {
  formatProblem,
  parseRecord,
  parseRecords,
  type RecordFolder,
  type RecordProblem,
  type RunRecord,
} from "./records/reader";
export { type ExistingRun, findExistingRun, unfinishedRuns } from "./records/resume";
export type {
  Budget,
  CheckpointLine,
  EndLine,
  EvaluationLine,
  HeaderLine,
  HyperparameterValue,
  Metric,
  Phase,
  PhaseResult,
  RecordLine,
  ResumeLine,
  RunConfiguration,
  RunEnvironment,
  RunStatus,
  RunTimes,
  Target,
  TimeToTarget,
  TrainingLine,
} from "./records/schema";
export { memoryStore, type RunStore, runName, type StoredRun } from "./records/store";
export { RecordWriter } from "./records/writer";

// Reports: functions of records.

export { aggregate, type Contestant, metricName, type Race } from "./report/aggregate";
export { type Abscissa, type CurveSource, medianCurve, type Point, type RunCurve, runCurve } from "./report/curve";
export { renderFigure } from "./report/figure";
export {
  formatCount,
  formatMetric,
  formatMisses,
  formatSeconds,
  formatTarget,
} from "./report/format";
export { renderPage } from "./report/page";
export type { Quartiles } from "./report/statistics";
export { renderTable } from "./report/table";
export { darkTheme, fontFamily, lightTheme, type Theme } from "./report/theme";

// Runs.

export { type AlgorithmRequest, configureRun, type Protocol, type TargetRequest } from "./run/configuration";
export type { Hyperparameters, LearningRateSteps } from "./run/optimizer";
export { type KernelProfile, type ProfileOptions, profileStep, type StepProfile } from "./run/profile";
export { createPrograms, type ProgramParts, type Programs, type RunKeys, type TrainingState } from "./run/programs";
export { type InspectedMoment, type RunProgress, runTraining, type TrainingOptions } from "./run/train";
