/**
 * The debug mode: finds the first operation that made a NaN or an infinity, and the line that called it.
 */
import type { Device } from "../device/device";
import { isFloat } from "../dtype";
import { NonFiniteError } from "../errors";
import { topologicalOrder } from "../graph/visit";
import { observeCreation, stack, type Tensor } from "../tensor";

let checking = false;
const sites = new WeakMap<Tensor, string>();

export const isChecking = (): boolean => checking;

/**
 * Turns the debug mode on or off. While it is on, every operation notes the line that made it, and every evaluation
 * checks all intermediate results; the first one that is not finite although its inputs are is named by a
 * NonFiniteError. Slow: every intermediate result is computed and tested.
 */
export function debugNonFinite(enabled: boolean): void {
  checking = enabled;
  observeCreation(enabled ? (tensor) => sites.set(tensor, callSite()) : undefined);
}

/** The first line of the stack that is not inside of this library. */
function callSite(): string {
  const lines = new Error("site").stack?.split("\n").slice(1) ?? [];
  const isOwn = (line: string) =>
    /[\\/](tensor|autograd|nn|optim)[\\/](src|dist)[\\/]/.test(line) || line.includes("node:internal");
  return (lines.find((line) => !isOwn(line)) ?? lines.at(-1) ?? "").trim().replace(/^at /, "");
}

/** How the checks are run: what compiler/evaluate.ts has. */
export interface Runner {
  evaluateOn(device: Device, tensors: readonly Tensor[]): void;
  readRaw(tensor: Tensor): Promise<ArrayBuffer>;
}

/**
 * Submits a test of every result on the way to `outputs`, now, and waits for the answer.
 *
 * @throws NonFiniteError naming the first operation, in order of computation, with a result that is not finite.
 */
export function checkFinite(outputs: readonly Tensor[], device: Device, runner: Runner): Promise<void> {
  const floats = topologicalOrder(outputs).filter((node) => isFloat(node.dtype) && node.size > 0);
  const leaves = floats.filter((node) => node.realized !== undefined);
  const suspects = [...leaves, ...floats.filter((node) => node.realized === undefined)];
  if (suspects.length === 0) return Promise.resolve();
  const flags = withoutDebugging(() => {
    const all = stack(suspects.map((node) => node.isFinite().all().cast("i32")));
    runner.evaluateOn(device, [all]);
    return all;
  });
  return runner.readRaw(flags).then((bytes) => {
    const first = new Int32Array(bytes).indexOf(0);
    if (first >= 0 && first < suspects.length) throw nonFinite(suspects[first] as Tensor, first < leaves.length);
  });
}

function withoutDebugging<R>(fn: () => R): R {
  const observer = observeCreation(undefined);
  checking = false;
  try {
    return fn();
  } finally {
    checking = true;
    observeCreation(observer);
  }
}

function nonFinite(node: Tensor, isLeaf: boolean): NonFiniteError {
  const site = sites.get(node);
  const inputs = node.inputs.map((input) => input.toString()).join(", ");
  const what = isLeaf
    ? `the data of a tensor ${node.toString()}`
    : `${node.primitive.name}(${inputs}) giving ${node.toString()}`;
  return new NonFiniteError(
    `A NaN or an infinity came first from ${what}${site ? `, made at ${site}` : ""}. ` +
      "Check the ranges of its inputs: logarithms and divisions of 0, exponentials above 88, or a learning rate too high.",
  );
}
