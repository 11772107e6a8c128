import { memoryStore, race } from "@thalweg/bench";
import { type Device, DeviceLostError } from "@thalweg/tensor";
import { dataFiles } from "./data-files";
import type { RaceRequest, Report } from "./protocol";
import { Reporter } from "./reporter";

/** What a race needs of the worker. */
export interface RaceContext {
  readonly request: RaceRequest;
  /** Address of the folder with the files of data sets. */
  readonly dataFolder: string;
  /** Destroys the GPU device once, after so many steps of the first run. */
  readonly loseDeviceAfter: number | undefined;
  readonly report: (message: Report) => void;
  readonly openDevice: () => Promise<Device>;
  /** Frees what a lost device held, so that the next one that is opened is new. */
  readonly closeDevice: () => void;
}

/** How a race is steered. */
export interface RaceControl {
  pause(): void;
  resume(): void;
  stop(): void;
}

/** A GPU that goes away again and again is broken: a race starts anew on at most so many devices. */
const mostDevices = 5;

/**
 * Runs a race and reports all of it. When the GPU is lost, the race goes on from the last checkpoint on a new device: runs
 * that were over are not repeated.
 *
 * @returns `finished` resolves to true if the race was stopped.
 */
export function runRace(context: RaceContext): { readonly control: RaceControl; readonly finished: Promise<boolean> } {
  const stopping = new AbortController();
  const pause = new Pause();
  const control: RaceControl = {
    pause: () => pause.begin(),
    resume: () => pause.end(),
    stop() {
      stopping.abort();
      pause.end();
    },
  };
  return { control, finished: raceOnDevices(context, stopping.signal, pause) };
}

async function raceOnDevices(context: RaceContext, signal: AbortSignal, pause: Pause): Promise<boolean> {
  const { request, dataFolder, report, openDevice, closeDevice } = context;
  const store = memoryStore();
  const reporter = new Reporter(store, report);
  const files = dataFiles(dataFolder, (file, loaded, total) => report({ type: "loading", file, loaded, total }));
  let loseDeviceAfter = context.loseDeviceAfter;
  for (let attempt = 1; ; attempt++) {
    let device: Device | undefined;
    try {
      const { workload, algorithms, seeds, ...protocol } = request;
      const { interrupted } = await race({
        ...protocol,
        workload,
        algorithms,
        seeds,
        store,
        files,
        signal,
        hold: () => pause.held,
        inspect: (moment) => reporter.inspect(moment),
        openDevice: async () => {
          device = await openDevice();
          return device;
        },
        onStart: () => report({ type: "started" }),
        onProgress(progress) {
          reporter.progress(progress);
          if (loseDeviceAfter !== undefined && progress.step >= loseDeviceAfter) {
            loseDeviceAfter = undefined;
            device?.gpu.destroy();
          }
        },
        onRun: ({ header, path }) => reporter.finish(header.configuration, path),
      });
      await reporter.settled;
      return interrupted;
    } catch (error) {
      if (!(error instanceof DeviceLostError) || signal.aborted || attempt === mostDevices) throw error;
      report({ type: "device-lost", message: error.message });
      closeDevice();
    }
  }
}

/** What holds a race between two chunks of steps. */
class Pause {
  #held: Promise<void> | undefined;
  #release: (() => void) | undefined;

  get held(): Promise<void> | undefined {
    return this.#held;
  }

  begin(): void {
    this.#held ??= new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  end(): void {
    this.#held = undefined;
    this.#release?.();
  }
}
