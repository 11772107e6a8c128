import { computed, signal } from "@preact/signals";
import {
  type EvaluationLine,
  parseRecord,
  type RunConfiguration,
  type RunProgress,
  type RunRecord,
  type TrainingLine,
} from "@thalweg/bench";
import type { PredictionsUpdate, RaceRequest, Report, RunUpdate } from "../worker/protocol";
import { onReport, send } from "./engine";
import { ThinnedSeries } from "./thinned";

/** What a race is doing. */
export type Phase = "idle" | "starting" | "running" | "paused" | "finished" | "stopped" | "failed";

/** Points that a chart keeps of a run that is going on. */
const keptPoints = 600;

/** A run that is going on. */
export interface LiveRun {
  readonly id: string;
  readonly configuration: RunConfiguration;
  readonly evaluations: readonly EvaluationLine[];
  readonly training: readonly TrainingLine[];
  readonly activity: RunProgress["activity"];
  readonly step: number;
  readonly fraction: number;
  readonly stepsPerSecond: number | undefined;
}

/** A record with the text that it was read from. */
export interface TextRecord {
  readonly record: RunRecord;
  readonly text: string;
}

export const phase = signal<Phase>("idle");
/** The race that runs, or ran last. */
export const request = signal<RaceRequest | undefined>(undefined);
export const liveRun = signal<LiveRun | undefined>(undefined);
/** Runs of this race that are over. */
export const records = signal<readonly TextRecord[]>([]);
export const predictions = signal<PredictionsUpdate | undefined>(undefined);
/** What is being fetched. */
export const loading = signal<{ readonly file: string; readonly fraction: number } | undefined>(undefined);
/** What a screen reader says next, and what stands under the controls. */
export const notice = signal<{ readonly kind: "status" | "warning" | "error"; readonly text: string } | undefined>(
  undefined,
);

export const isActive = computed(() => ["starting", "running", "paused"].includes(phase.value));

const series = {
  evaluations: new ThinnedSeries<EvaluationLine>(keptPoints, ({ step }) => step),
  training: new ThinnedSeries<TrainingLine>(keptPoints, ({ step }) => step),
};

onReport(receive);

/** Starts a race; what the one before left goes. */
export function startRace(race: RaceRequest, loseDeviceAfter: number | undefined): void {
  clear();
  request.value = race;
  phase.value = "starting";
  const dataFolder = new URL("data/", document.baseURI).href;
  send({ type: "start", request: race, dataFolder, loseDeviceAfter });
}

export function pauseRace(): void {
  send({ type: "pause" });
  phase.value = "paused";
}

export function resumeRace(): void {
  send({ type: "resume" });
  phase.value = "running";
}

export function stopRace(): void {
  send({ type: "stop" });
}

/** Takes the results of the last race away. */
export function resetRace(): void {
  clear();
  request.value = undefined;
  phase.value = "idle";
}

function clear(): void {
  records.value = [];
  liveRun.value = undefined;
  predictions.value = undefined;
  loading.value = undefined;
  notice.value = undefined;
}

function receive(report: Report): void {
  switch (report.type) {
    case "loading":
      loading.value = { file: report.file, fraction: report.loaded / Math.max(1, report.total) };
      return;
    case "started":
      loading.value = undefined;
      if (phase.value === "starting") phase.value = "running";
      return;
    case "run":
      beginRun(report.id, report.configuration);
      return;
    case "update":
      updateRun(report.id, report.update);
      return;
    case "predictions":
      predictions.value = report.predictions;
      return;
    case "record":
      records.value = [...records.value, { record: parseRecord(report.text, report.path), text: report.text }];
      if (liveRun.value?.id === report.id) liveRun.value = undefined;
      return;
    case "device-lost":
      notice.value = {
        kind: "warning",
        text: `The GPU was lost, and the race goes on from the last checkpoint on a new one. (${report.message})`,
      };
      return;
    case "finished":
      liveRun.value = undefined;
      phase.value = report.stopped ? "stopped" : "finished";
      return;
    case "failed":
      notice.value = { kind: "error", text: report.message };
      if (!isActive.value) return;
      liveRun.value = undefined;
      loading.value = undefined;
      phase.value = "failed";
  }
}

function beginRun(id: string, configuration: RunConfiguration): void {
  const isAgain = liveRun.value?.id === id;
  if (!isAgain) {
    series.evaluations.clear();
    series.training.clear();
  }
  liveRun.value = {
    id,
    configuration,
    evaluations: series.evaluations.points,
    training: series.training.points,
    activity: "compiling",
    step: 0,
    fraction: 0,
    stepsPerSecond: undefined,
  };
}

function updateRun(id: string, update: RunUpdate): void {
  const run = liveRun.value;
  if (run?.id !== id) return;
  for (const line of update.evaluations) series.evaluations.push(line);
  for (const line of update.training) series.training.push(line);
  liveRun.value = {
    ...run,
    ...update,
    evaluations: series.evaluations.points,
    training: series.training.points,
  };
}

/** Records that a visitor has opened: of other races, here or in Node. */
export const imported = signal<readonly RunRecord[]>([]);
