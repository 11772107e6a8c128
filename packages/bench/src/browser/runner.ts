import { defaultDevice, init, ThalwegError } from "@thalweg/tensor";
import { DataError, type FileReader, fetchHint, unpackVerified } from "@thalweg/workloads";
import { race } from "../race";
import { profileStep } from "../run/profile";
import {
  type Answer,
  type DeviceRequest,
  type ErrorDescription,
  pathHeader,
  type Runner,
  type RunnerEvent,
  type RunnerHost,
} from "./protocol";
import { remoteStore } from "./remote-store";

// The script of the page that `thalweg bench --in browser` opens. It trains; Node asks, watches and keeps the records.

const host = globalThis as unknown as RunnerHost;
let interruption = new AbortController();

const openDevice = (request: DeviceRequest) => async () => {
  // A request of its own may be for another adapter than the one before.
  defaultDevice()?.destroy();
  return init({ ...request, notice: (text) => void host.thalwegEvent({ type: "notice", text }) });
};

const runner: Runner = {
  race: ({ device, ...options }) =>
    answered(async () => {
      const said: Promise<void>[] = [];
      interruption = new AbortController();
      const say = (event: RunnerEvent) => said.push(host.thalwegEvent(event));
      const { interrupted } = await race({
        ...options,
        store: remoteStore(host),
        files: servedFiles,
        openDevice: openDevice(device),
        signal: interruption.signal,
        onStart: () => say({ type: "start" }),
        onProgress: (progress) => {
          show(`${progress.configuration.optimizer}, seed ${progress.configuration.seed}, step ${progress.step}`);
          void host.thalwegEvent({ type: "progress", progress });
        },
        onRun: ({ path }) => say({ type: "run", path }),
      });
      await Promise.all(said);
      return { interrupted, tuning: defaultDevice()?.tuning.reports ?? [] };
    }),
  profile: ({ device, ...options }) =>
    answered(async () => {
      const { profile, rows } = await profileStep({ ...options, files: servedFiles, openDevice: openDevice(device) });
      return { profile, rows, tuning: defaultDevice()?.tuning.reports ?? [] };
    }),
  device: (request) =>
    answered(async () => {
      const { adapter, limits, features } = await openDevice(request)();
      return { adapter, limits, features: [...features].sort() };
    }),
  stop: () => interruption.abort(),
};

/** Node reads the files from where `thalweg data fetch` or the user put them; what arrives is checked here. */
const servedFiles: FileReader = {
  async read(source, file) {
    const response = await fetch(`data/${source.folder}/${file.name}`);
    if (!response.ok) {
      throw new DataError({ file: `${source.folder}/${file.name}`, problem: await response.text() });
    }
    const where = decodeURIComponent(response.headers.get(pathHeader) ?? file.name);
    return unpackVerified(new Uint8Array(await response.arrayBuffer()), file, { where, fix: fetchHint(source) });
  },
};

async function answered<T>(work: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error: describeError(error) };
  }
}

function describeError(error: unknown): ErrorDescription {
  if (!(error instanceof Error)) return { code: undefined, message: String(error), stack: undefined };
  const code = error instanceof ThalwegError ? error.code : undefined;
  return { code, message: error.message, stack: error.stack };
}

/** For who looks at the window. */
function show(text: string): void {
  document.title = text;
  document.body.textContent = text;
}

Object.assign(globalThis, { thalwegRunner: runner });
