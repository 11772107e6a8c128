import { type OptimizerRecord, optimizers } from "@thalweg/optim";
import { type Device, DeviceLostError, requestDevice } from "@thalweg/tensor";
import type { Runner } from "../optimizers";
import type { PathReply, PathRequest } from "./messages";
import { canRun, stepsPerCall } from "./program";
import { Programs, runPath } from "./runs";

/** Longer than this nobody waits for a part of a path, in milliseconds. */
const patience = 250;

const newest = { run: 0, sweep: 0 };

const records = Object.values(optimizers).filter(canRun);
tell({
  kind: "catalogue",
  optimizers: records.map(({ name, title, source, year, family, hyperparameters }) => ({
    name,
    title,
    source,
    year,
    family,
    hyperparameters,
  })),
});

const opening = openPrograms();

addEventListener("message", async ({ data }: MessageEvent<PathRequest>) => {
  if (data.kind !== "lose") newest[data.kind] = data.id;
  const programs = await opening;
  if (programs === undefined) return;
  if (data.kind === "run") await run(programs, data);
  else if (data.kind === "sweep") await sweep(programs, data);
  else programs.device.destroy();
});

async function openPrograms(): Promise<Programs | undefined> {
  let device: Device;
  try {
    device = await requestDevice({ notice: () => {} });
  } catch (error) {
    tell({ kind: "unavailable", message: messageOf(error) });
    return undefined;
  }
  void device.gpu.lost.then(({ message }) => tell({ kind: "lost", message }));
  const { description, vendor, architecture } = device.adapter;
  tell({ kind: "ready", adapter: description || `${vendor} ${architecture}` });
  return new Programs(device);
}

async function run(programs: Programs, { id, course, runners }: PathRequest & { readonly kind: "run" }): Promise<void> {
  const isStale = () => newest.run !== id;
  await forEachRunner(id, runners, async (record, runner, index) => {
    let told = performance.now();
    for await (const { points, isComplete } of runPath(programs, record, runner, course)) {
      if (isStale()) return;
      const now = performance.now();
      if (!isComplete && now - told < patience) continue;
      told = now;
      tell({ kind: "path", id, index, points, isComplete }, [points.buffer]);
    }
  });
}

async function sweep(programs: Programs, request: PathRequest & { readonly kind: "sweep" }): Promise<void> {
  const { id, course, runners, rates } = request;
  const { formula, start, steps, noise } = course;
  await forEachRunner(id, runners, async (record, runner, index) => {
    if (newest.sweep !== id || record.hyperparameters.learningRate === undefined) return;
    const all = rates.map((learningRate) => ({ ...runner.options, learningRate }));
    const program = programs.find(formula, record, runner);
    const ends = await program.ends(all, [start.x, start.y], noise, steps / stepsPerCall);
    if (newest.sweep === id) tell({ kind: "sweep", id, index, ends });
  });
}

/** All at once; what one of them throws is told, and the others go on. */
async function forEachRunner(
  id: number,
  runners: readonly Runner[],
  work: (record: OptimizerRecord, runner: Runner, index: number) => Promise<void>,
): Promise<void> {
  await Promise.all(
    runners.map(async (runner, index) => {
      const record = records.find(({ name }) => name === runner.optimizer);
      try {
        if (record === undefined)
          throw new Error(`There is no optimizer "${runner.optimizer}" for functions like this.`);
        await work(record, runner, index);
      } catch (error) {
        // That the device is lost is told once, above.
        if (!(error instanceof DeviceLostError)) tell({ kind: "failure", id, index, message: messageOf(error) });
      }
    }),
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function tell(reply: PathReply, transfer: Transferable[] = []): void {
  postMessage(reply, { transfer });
}
