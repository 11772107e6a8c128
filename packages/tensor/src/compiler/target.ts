import type { Device } from "../device/device";

/** What the compiler needs to know of a device to choose shapes of kernels. */
export interface CompileTarget {
  /** The adapter computes on the CPU: no barriers, no workgroup memory, few invocations. */
  readonly isSoftware: boolean;
  /** Invocations that keep the machine busy; less parallel work than this is split further. */
  readonly invocations: number;
  /** Result elements that one load of an operand of a contraction serves, per side: how often operands are read. */
  readonly operandReuse: number;
  /**
   * Rows of the tile of results that one invocation of a contraction computes, and contracted coordinates per iteration.
   * GPUs gain from wide loads along the contraction; CPUs from taller tiles (packages/tensor/bench/contraction.bench.ts).
   */
  readonly contractionTile: { readonly rows: number; readonly unroll: 1 | 4 };
  /** Storage buffers that one kernel can bind. */
  readonly maxBindings: number;
  /** Workgroups along one dimension of a dispatch. */
  readonly maxWorkgroups: number;
  readonly maxInvocationsPerWorkgroup: number;
  readonly hasF16: boolean;
  /** Bytes that one binding, hence one tensor, can have. */
  readonly maxBindingBytes: number;
}

export function compileTarget(device: Device): CompileTarget {
  const { limits, adapter, features } = device;
  return {
    isSoftware: adapter.isSoftware,
    invocations: adapter.isSoftware ? 64 : 16_384,
    operandReuse: adapter.isSoftware ? 4 : 32,
    contractionTile: adapter.isSoftware ? { rows: 16, unroll: 1 } : { rows: 8, unroll: 4 },
    maxBindings: limits.maxStorageBuffersPerShaderStage,
    maxWorkgroups: limits.maxComputeWorkgroupsPerDimension,
    maxInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    hasF16: features.has("shader-f16"),
    maxBindingBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
  };
}
