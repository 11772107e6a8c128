// Comparing training algorithms.

export { describeFailure, exitCodes } from "./cli/failure";
export { main } from "./cli/main";
export type { Terminal } from "./cli/terminal";

// Errors.

export { RecordError, UsageError } from "./errors";
export { type Draw, drawHyperparameters } from "./protocols/search";
export { type StandardRace, standardOptimizers, standardRaces } from "./protocols/standard";
export { type RaceOptions, type RaceResult, race } from "./race";

// Records: what is kept of a run.

export { configurationId, decodeLine, encodeLine } from "./records/codec";
export {
  formatProblem,
  type RecordFolder,
  type RecordProblem,
  type RunRecord,
  readRecord,
  readRecords,
} from "./records/reader";
export { checkpointPath, type ExistingRun, findExistingRun, recordPath, unfinishedRuns } from "./records/resume";
export { readSafetensors } from "./records/safetensors";
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
export { RecordWriter } from "./records/writer";

// Reports: functions of records.

export { aggregate, type Contestant, type Race } from "./report/aggregate";
export { renderFigure } from "./report/figure";
export { renderPage } from "./report/page";
export { renderPng } from "./report/png";
export { type ReportFormat, type ReportOptions, reportFormats, writeReport } from "./report/report";
export type { Quartiles } from "./report/statistics";
export { renderTable } from "./report/table";

// Runs.

export { type AlgorithmRequest, configureRun, type Protocol, type TargetRequest } from "./run/configuration";
export type { Hyperparameters, LearningRateSteps } from "./run/optimizer";
export { type KernelProfile, type ProfileOptions, profileStep, type StepProfile } from "./run/profile";
export { createPrograms, type ProgramParts, type Programs, type TrainingState } from "./run/programs";
export { type RunProgress, runTraining, type TrainingOptions } from "./run/train";
