import { type Device, DeviceLostError, defaultDevice, init } from "@thalweg/tensor";
import { describeCatalogue } from "./catalogue";
import type { Command, Report, StartCommand } from "./protocol";
import { measureRate } from "./rate";
import { type RaceControl, runRace } from "./run-race";

/** What this thread is, of the worker's global scope; the page's library of types has the window instead. */
interface Scope {
  postMessage(report: Report): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Command>) => void): void;
}

const scope = globalThis as unknown as Scope;
const report = (message: Report): void => scope.postMessage(message);

let opening: Promise<Device> | undefined;
let control: RaceControl | undefined;

scope.addEventListener("message", ({ data }) => void obey(data));
report({ type: "catalogue", catalogue: describeCatalogue() });

async function obey(command: Command): Promise<void> {
  switch (command.type) {
    case "open":
      await openDevice().catch(() => undefined);
      return;
    case "measure":
      return measure();
    case "start":
      return start(command);
    case "pause":
      control?.pause();
      return;
    case "resume":
      control?.resume();
      return;
    case "stop":
      control?.stop();
  }
}

/** The GPU: opened when it is first needed, and anew after it was lost. */
function openDevice(): Promise<Device> {
  opening ??= init().then(
    (device) => {
      const { adapter, limits, features } = device;
      report({ type: "device", device: { adapter, limits, features: [...features] } });
      return device;
    },
    (error) => {
      opening = undefined;
      report({ type: "no-device", message: messageOf(error) });
      throw error;
    },
  );
  return opening;
}

function closeDevice(): void {
  opening = undefined;
  defaultDevice()?.destroy();
}

async function measure(): Promise<void> {
  try {
    report({ type: "measured", ...(await measureRate(await openDevice())) });
  } catch (error) {
    if (error instanceof DeviceLostError && control === undefined) closeDevice();
    report({ type: "not-measured", message: messageOf(error) });
  }
}

async function start({ request, dataFolder, loseDeviceAfter }: StartCommand): Promise<void> {
  // The page starts no race while one is running.
  if (control !== undefined) return;
  const context = { request, dataFolder, loseDeviceAfter, report, openDevice, closeDevice };
  const { control: own, finished } = runRace(context);
  control = own;
  try {
    report({ type: "finished", stopped: await finished });
  } catch (error) {
    report({ type: "failed", message: messageOf(error) });
  } finally {
    control = undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
