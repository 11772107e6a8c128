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
  /** Bytes of the buffers created. */
  bytesCreated: number;
  bindGroupsCreated: number;
}

type Method = (this: object, ...args: unknown[]) => unknown;

/** Replaces a method of a WebGPU class; what it returns puts the original back. */
function wrap(owner: string, method: string, around: (original: Method) => Method): () => void {
  const classes = globalThis as unknown as Record<string, { prototype: Record<string, Method> } | undefined>;
  const prototype = classes[owner]?.prototype;
  const original = prototype?.[method];
  if (prototype === undefined || original === undefined) {
    throw new Error(`counting: ${owner}.${method} does not exist here.`);
  }
  prototype[method] = around(original);
  return () => {
    prototype[method] = original;
  };
}

const sizeOfBuffer = (descriptor: unknown): number => (descriptor as GPUBufferDescriptor).size;

/** The names that a method of WebGPU is counted under, and what a call adds; 1 unless said. */
const counted: readonly {
  readonly owner: string;
  readonly method: string;
  readonly as: keyof Counts;
  readonly amount?: (args: readonly unknown[]) => number;
}[] = [
  { owner: "GPUComputePassEncoder", method: "dispatchWorkgroups", as: "dispatches" },
  { owner: "GPUComputePassEncoder", method: "dispatchWorkgroupsIndirect", as: "dispatches" },
  {
    owner: "GPUQueue",
    method: "submit",
    as: "submits",
    amount: ([buffers]) => (Array.isArray(buffers) && buffers.length === 0 ? 0 : 1),
  },
  { owner: "GPUQueue", method: "writeBuffer", as: "writes" },
  { owner: "GPUCommandEncoder", method: "beginComputePass", as: "passes" },
  { owner: "GPUCommandEncoder", method: "copyBufferToBuffer", as: "copies" },
  { owner: "GPUCommandEncoder", method: "clearBuffer", as: "copies" },
  { owner: "GPUDevice", method: "createBuffer", as: "buffersCreated" },
  {
    owner: "GPUDevice",
    method: "createBuffer",
    as: "bytesCreated",
    amount: ([descriptor]) => sizeOfBuffer(descriptor),
  },
  { owner: "GPUDevice", method: "createBindGroup", as: "bindGroupsCreated" },
];

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
    bytesCreated: 0,
    bindGroupsCreated: 0,
  };
  const restorations = counted.map(({ owner, method, as, amount = () => 1 }) =>
    wrap(
      owner,
      method,
      (original) =>
        function (...args) {
          counts[as] += amount(args);
          return original.apply(this, args);
        },
    ),
  );
  try {
    await work();
  } finally {
    // In reverse, for a method may be wrapped twice.
    for (const restore of restorations.reverse()) restore();
  }
  return counts;
}

/** Bytes of the buffers that an engine holds, and held at most. */
export interface BufferUse {
  /** From now on what is created belongs to this owner. */
  owner: string;
  /** The most bytes of an owner's buffers that existed at one time. */
  peakOf(owner: string): number;
  /** Puts the methods of WebGPU back. */
  stop(): void;
}

/**
 * Follows creation and destruction of buffers, pools and staging included. A buffer that is left to the garbage collector counts
 * as held.
 */
export function followBuffers(): BufferUse {
  const held = new Map<string, { now: number; peak: number }>();
  const known = new WeakMap<object, { readonly owner: string; readonly bytes: number }>();
  const use: BufferUse = { owner: "", peakOf: (owner) => held.get(owner)?.peak ?? 0, stop };
  const restorations = [
    wrap(
      "GPUDevice",
      "createBuffer",
      (original) =>
        function (...args) {
          const buffer = original.apply(this, args) as object;
          const bytes = sizeOfBuffer(args[0]);
          const own = held.get(use.owner) ?? { now: 0, peak: 0 };
          own.now += bytes;
          own.peak = Math.max(own.peak, own.now);
          held.set(use.owner, own);
          known.set(buffer, { owner: use.owner, bytes });
          return buffer;
        },
    ),
    wrap(
      "GPUBuffer",
      "destroy",
      (original) =>
        function (...args) {
          const buffer = known.get(this);
          const own = buffer === undefined ? undefined : held.get(buffer.owner);
          if (buffer !== undefined && own !== undefined) own.now -= buffer.bytes;
          known.delete(this);
          return original.apply(this, args);
        },
    ),
  ];
  function stop(): void {
    for (const restore of restorations) restore();
  }
  return use;
}
