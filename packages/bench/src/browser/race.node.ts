import type { ClassReport } from "@thalweg/tensor";
import { datasets, findProblem } from "@thalweg/workloads";
import { findFile } from "@thalweg/workloads/node";
import type { RaceOptions, RaceResult } from "../race";
import { parseRecord, type RunRecord } from "../records/reader";
import type { RunStore } from "../records/store";
import { aggregate } from "../report/aggregate";
import type { RaceRequest } from "./protocol";
import type { BrowserSession } from "./session.node.js";

/** A race for a browser: what goes to the page, and what stays here. */
export interface BrowserRaceOptions
  extends Omit<RaceRequest, "environment">,
    Pick<RaceOptions, "signal" | "onStart" | "onProgress" | "onRun"> {
  /** Where the records are kept, here. */
  readonly store: RunStore;
  /** Told what devices have to say. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

/** What a race gives, with what was measured to choose variants of kernels. */
export interface BrowserRaceResult extends RaceResult {
  readonly tuning: readonly ClassReport[];
}

/** {@link race} in a browser: the page trains, and the records are kept here as they are written. */
export async function raceInBrowser(session: BrowserSession, options: BrowserRaceOptions): Promise<BrowserRaceResult> {
  const { store, signal, onStart, onProgress, onRun, onNotice, ...request } = options;
  const { server } = session;
  server.keepIn(store);
  const paths: string[] = [];
  const told: Promise<void>[] = [];
  session.onEvent = (event) => {
    switch (event.type) {
      case "notice":
        return onNotice?.(event.text);
      case "start":
        return onStart?.();
      case "progress":
        return onProgress?.(event.progress);
      case "run":
        paths.push(event.path);
        told.push(readRun(event.path).then((record) => onRun?.(record)));
    }
  };
  const readRun = async (path: string): Promise<RunRecord> => {
    const bytes = await server.runAt(path)?.read();
    // The page has just said that the record is complete.
    return parseRecord(bytes as Uint8Array, path);
  };
  const stop = () => void session.stop();
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  try {
    const { interrupted, tuning } = await session.call("race", { ...request, environment: session.environment });
    await Promise.all(told);
    const records = await Promise.all(paths.map(readRun));
    return { race: aggregate(records)[0], records, interrupted, tuning };
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** Looks whether there is such a workload, and all files of its data set. @throws ArgumentError, DataError */
export async function checkData(workload: string): Promise<void> {
  const { source } = datasets[findProblem(workload).dataset];
  for (const file of Object.values(source?.files ?? {})) {
    if (source !== undefined) await findFile(source, file, process.env);
  }
}
