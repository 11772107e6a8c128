/**
 * Running graphs that nobody compiled: what is asked for is planned once per structure, and kept.
 */

import type { Device } from "../device/device";
import { defaultDevice, init } from "../device/device";
import { bytesPerElement } from "../dtype";
import { invariant } from "../errors";
import { graphSignature, withoutAliases } from "../graph/signature";
import { topologicalOrder } from "../graph/visit";
import { placeholder, type Tensor } from "../tensor";
import { checkFinite, isChecking } from "./debug";
import { Executable } from "./executable";
import { makePlan } from "./plan";
import { tensorBytes } from "./plan-memory";
import { type CompileTarget, compileTarget } from "./target";
import { storageOn } from "./upload";

/** A plan with the leaves that it was made for, in the order of the signature. */
interface Cached {
  readonly executable: Executable;
  readonly leaves: readonly Tensor[];
}

/** Structures that are kept per device. */
const keptPlans = 512;
/** By the target of a device: every device has its own, and plans for one target do not serve another. */
const plans = new WeakMap<CompileTarget, Map<string, Cached>>();

/** The bytes of one tensor, computed if need be. */
export async function read(tensor: Tensor): Promise<ArrayBuffer> {
  const known = tensor.realized;
  if (known?.kind === "host") return known.bytes;
  await evaluate([tensor]);
  const data = tensor.realized;
  if (data?.kind === "host") return data.bytes;
  await pendingChecks.get(tensor);
  return readRaw(tensor);
}

/** The bytes of a tensor that was computed. */
export async function readRaw(tensor: Tensor): Promise<ArrayBuffer> {
  const data = tensor.realized;
  invariant(data?.kind === "device", "the tensor is on a device");
  const bytes = Math.ceil((tensor.size * bytesPerElement[tensor.dtype]) / 4) * 4;
  return data.device.read(data.storage.buffer, data.storage.byteOffset, bytes);
}

const pendingChecks = new WeakMap<Tensor, Promise<void>>();

/** Makes reading a tensor wait for a check, and fail with it. */
export function attachCheck(tensor: Tensor, check: Promise<void>): void {
  check.catch(() => undefined);
  pendingChecks.set(tensor, check);
}

/** Computes tensors together, in one submit. Reading them later does not compute anything again. */
export async function evaluate(tensors: readonly Tensor[], device?: Device): Promise<void> {
  const own = device ?? defaultDevice() ?? (await init());
  if (isChecking()) {
    const open = tensors.filter((tensor) => tensor.realized === undefined);
    await checkFinite(open, own, { evaluateOn, readRaw });
  }
  evaluateOn(own, tensors);
}

/** {@link evaluate} on a device that exists: submits and returns. */
export function evaluateOn(device: Device, tensors: readonly Tensor[]): void {
  const open = [...new Set(tensors)].filter((tensor) => tensor.realized === undefined);
  if (open.length === 0) return;
  for (const tensor of open) {
    const source = withoutAliases(tensor);
    if (source.primitive.lowering.kind === "leaf") storageOn(device, source);
  }
  const { key, leaves } = graphSignature(open);
  for (const leaf of leaves) storageOn(device, leaf);
  const { executable, leaves: planned } = planFor(device, key, open, leaves);
  const actual = new Map(planned.map((leaf, index) => [leaf, leaves[index] as Tensor]));
  const { plan } = executable;
  const results = plan.resultBytes > 0 ? device.pool.allocate(plan.resultBytes, "results") : undefined;
  executable.run({ leaf: (leaf) => storageOn(device, actual.get(leaf) as Tensor), results });
  // The queue runs in order, so the temporaries' memory may serve the next run.
  executable.releaseArenas();
  for (const [index, tensor] of open.entries()) {
    const destination = plan.outputs[index]?.destination;
    if (destination?.kind === "result" && results !== undefined) {
      const storage = device.pool.view(results, destination.offset, tensorBytes(tensor));
      tensor.realize({ kind: "device", device, storage });
    } else if (destination?.kind === "leaf") {
      const storage = storageOn(device, actual.get(destination.leaf) as Tensor);
      storage.retain();
      tensor.realize({ kind: "device", device, storage });
    }
  }
  results?.release();
}

function planFor(device: Device, key: string, outputs: readonly Tensor[], leaves: readonly Tensor[]): Cached {
  const target = compileTarget(device);
  const known = plans.get(target) ?? new Map<string, Cached>();
  plans.set(target, known);
  const cached = known.get(key);
  if (cached !== undefined) return cached;
  const template = withPlaceholders(outputs, leaves);
  const plan = makePlan(
    template.outputs,
    outputs.map(() => undefined),
    target,
  );
  const made = { executable: new Executable(device, plan), leaves: template.leaves };
  if (known.size >= keptPlans) known.delete(known.keys().next().value as string);
  known.set(key, made);
  return made;
}

/** The same graph over placeholders: a plan that is kept must not keep anybody's data. */
function withPlaceholders(
  outputs: readonly Tensor[],
  leaves: readonly Tensor[],
): { readonly outputs: Tensor[]; readonly leaves: Tensor[] } {
  const copies = new Map<Tensor, Tensor>(leaves.map((leaf) => [leaf, placeholder(leaf.shape, leaf.dtype)]));
  for (const node of topologicalOrder(outputs)) {
    if (copies.has(node)) continue;
    const inputs = node.inputs.map((input) => copies.get(input) as Tensor);
    const isAlias = node.primitive.lowering.kind === "alias";
    copies.set(node, isAlias ? (inputs[0] as Tensor) : node.rebind(inputs));
  }
  return {
    outputs: outputs.map((output) => copies.get(output) as Tensor),
    leaves: leaves.map((leaf) => copies.get(leaf) as Tensor),
  };
}
