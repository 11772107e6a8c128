/** What an engine asked of WebGPU over a stretch of work. */
export interface Counts {
  /** `dispatchWorkgroups` and `dispatchWorkgroupsIndirect`. */
  dispatches: number;
  /** `queue.submit` calls that hold at least one command buffer. */
  submits: number;
  /** Compute passes begun. */
  passes: number;
  /** Copies and clears recorded by command encoders. */
  copies: number;
  /** `queue.writeBuffer` calls. */
  writes: number;
  buffersCreated: number;
  bindGroupsCreated: number;
}

/** The names that a method of WebGPU is counted under. */
const counted: readonly { readonly owner: string; readonly method: string; readonly as: keyof Counts }[] = [
  { owner: "GPUComputePassEncoder", method: "dispatchWorkgroups", as: "dispatches" },
  { owner: "GPUComputePassEncoder", method: "dispatchWorkgroupsIndirect", as: "dispatches" },
  { owner: "GPUQueue", method: "submit", as: "submits" },
  { owner: "GPUQueue", method: "writeBuffer", as: "writes" },
  { owner: "GPUCommandEncoder", method: "beginComputePass", as: "passes" },
  { owner: "GPUCommandEncoder", method: "copyBufferToBuffer", as: "copies" },
  { owner: "GPUCommandEncoder", method: "clearBuffer", as: "copies" },
  { owner: "GPUDevice", method: "createBuffer", as: "buffersCreated" },
  { owner: "GPUDevice", method: "createBindGroup", as: "bindGroupsCreated" },
];

type Method = (this: object, ...args: unknown[]) => unknown;

/**
 * Runs `work` and counts what it does with WebGPU. The methods of the WebGPU classes are replaced for that time only, so nothing
 * is counted (and nothing slowed down) while steps are timed.
 */
export async function countCalls(work: () => Promise<void>): Promise<Counts> {
  const counts: Counts = {
    dispatches: 0,
    submits: 0,
    passes: 0,
    copies: 0,
    writes: 0,
    buffersCreated: 0,
    bindGroupsCreated: 0,
  };
  const restorations = counted.map(({ owner, method, as }) => {
    const prototype = (globalThis as unknown as Record<string, { prototype: Record<string, Method> }>)[owner]
      ?.prototype;
    const original = prototype?.[method];
    if (prototype === undefined || original === undefined)
      throw new Error(`counting: ${owner}.${method} does not exist here.`);
    prototype[method] = function (...args) {
      const isEmptySubmit = as === "submits" && Array.isArray(args[0]) && args[0].length === 0;
      if (!isEmptySubmit) counts[as] += 1;
      return original.apply(this, args);
    };
    return () => {
      prototype[method] = original;
    };
  });
  try {
    await work();
  } finally {
    for (const restore of restorations) restore();
  }
  return counts;
}
