import { signal } from "@preact/signals";
import type { Catalogue, Command, OpenedDevice, Report } from "../worker/protocol";

/** Whether there is a GPU to train on. */
export type GpuState =
  | { readonly kind: "unknown" }
  | { readonly kind: "open"; readonly device: OpenedDevice }
  | { readonly kind: "missing"; readonly reason: string };

/** The worker as the page sees it: what there is to choose from, the GPU, and a line to talk. */
export const catalogue = signal<Catalogue | undefined>(undefined);
export const gpu = signal<GpuState>({ kind: "unknown" });
export const measurement = signal<Measurement>({ kind: "none" });

/** What is known of the GPU's rate. */
export type Measurement =
  | { readonly kind: "none" | "running" }
  | { readonly kind: "done"; readonly gflops: number; readonly size: number }
  | { readonly kind: "failed"; readonly message: string };

let worker: Worker | undefined;
const listeners = new Set<(report: Report) => void>();

/** Calls a function with everything that the worker says. */
export function onReport(listener: (report: Report) => void): void {
  listeners.add(listener);
}

/** Starts the worker, unless it runs already. It loads the engine, describes what there is, and opens the GPU. */
export function startEngine(): void {
  if (worker !== undefined) return;
  if (navigator.gpu === undefined) {
    gpu.value = { kind: "missing", reason: "This browser has no WebGPU, or has it turned off." };
  }
  worker = new Worker(new URL("../worker/main.ts", import.meta.url), { type: "module", name: "engine" });
  worker.addEventListener("message", ({ data }: MessageEvent<Report>) => receive(data));
  worker.addEventListener("error", ({ message }) => {
    receive({ type: "failed", message: `The training thread has stopped: ${message || "it could not be loaded"}.` });
  });
  if (gpu.value.kind !== "missing") send({ type: "open" });
}

/** Says something to the worker. */
export function send(command: Command): void {
  startEngine();
  worker?.postMessage(command);
}

/** Measures the rate of the GPU. */
export function measure(): void {
  measurement.value = { kind: "running" };
  send({ type: "measure" });
}

function receive(report: Report): void {
  switch (report.type) {
    case "catalogue":
      catalogue.value = report.catalogue;
      break;
    case "device":
      gpu.value = { kind: "open", device: report.device };
      break;
    case "no-device":
      gpu.value = { kind: "missing", reason: report.message };
      break;
    case "measured":
      measurement.value = { kind: "done", gflops: report.gflops, size: report.size };
      break;
    case "not-measured":
      measurement.value = { kind: "failed", message: report.message };
      break;
  }
  for (const listener of listeners) listener(report);
}
