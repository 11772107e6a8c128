import type { Device } from "../device/device";
import type { ContractionProblem, ContractionVariant } from "../kernels/contraction/variants";
import { tunedTarget } from "../tuning/family";
import type { TunedEntry } from "../tuning/table";
import type { TuneMode } from "../tuning/tuning";

/** What the compiler can leave out, and results still be the same up to rounding. See {@link CompileTarget.without}. */
export type Pass =
  /** Algebraic rewrites; what is left expands composites. */
  | "rewrites"
  /** Long sums in parallel parts. */
  | "parallelize"
  /** Computing where it is read, and several results in one kernel. */
  | "fuse"
  /** An order of kernels that needs less memory. */
  | "reorder"
  /** State replaced in place. */
  | "inPlace"
  /** Small kernels in one dispatch. */
  | "pack"
  /** Temporaries sharing memory. */
  | "reuse";

/** What the compiler needs to know of a device to choose shapes of kernels. */
export interface CompileTarget {
  /** Passes that are left out: for tests, and for finding a defect. */
  readonly without?: readonly Pass[];
  /** The adapter computes on the CPU: no barriers, no workgroup memory, few invocations. */
  readonly isSoftware: boolean;
  /** Invocations that keep the machine busy; less parallel work than this is split further. */
  readonly invocations: number;
  /** Most invocations that compute one result of a reduction together; 1 where barriers cost more than they gain. */
  readonly lanesPerRow: number;
  /** Result elements that one load of an operand of a contraction serves, per side: how often operands are read. */
  readonly operandReuse: number;
  /** Vectors of eight or more elements on a CPU: tall tiles of results keep them busy. */
  readonly likesTallTiles: boolean;
  /**
   * Bounds of loops are hidden from the driver, so that it unrolls none. Worth it on CPUs: there a vector's loads and
   * stores are many branches each, a driver needs some milliseconds for every one of them, and loops cost nothing beside
   * them when they run.
   */
  readonly keepsLoops: boolean;
  /**
   * Lanes of every subgroup, if invocations of a CPU's vector share what they load by exchanging it; 0 if each loads for
   * itself. Invocations of a workgroup are in subgroups by their numbers, in order.
   */
  readonly broadcastLanes: number;
  /** Forces the variant of a contraction; where it is undefined or returns undefined, heuristics choose. */
  readonly chooseContraction?: (problem: ContractionProblem) => ContractionVariant | undefined;
  /** Storage buffers that one kernel can bind. */
  readonly maxBindings: number;
  /** Workgroups along one dimension of a dispatch. */
  readonly maxWorkgroups: number;
  readonly maxInvocationsPerWorkgroup: number;
  /** Bytes of workgroup memory that one kernel can use. */
  readonly maxWorkgroupBytes: number;
  readonly hasF16: boolean;
  /** Bytes that one binding, hence one tensor, can have. */
  readonly maxBindingBytes: number;
  /** Bytes that one buffer can have. */
  readonly maxBufferBytes: number;
  /**
   * Work that one submit of a program with loops holds at most, in floating-point operations; a byte of memory traffic
   * counts as ten. Graphics drivers kill what runs for seconds without a break, and pages stop being drawn meanwhile.
   */
  readonly workPerSubmit: number;
}

const targets = new WeakMap<Device, CompileTarget>();
/** Targets with variants from a table, by the state of the table. */
const tunedTargets = new WeakMap<ReadonlyMap<string, TunedEntry>, { base: CompileTarget; tuned: CompileTarget }>();

/**
 * What programs for a device are compiled for; the same object until {@link retarget} chooses another one or the table of
 * the device's measurements changes.
 *
 * @param mode whether that table chooses variants.
 */
export function compileTarget(device: Device, mode: TuneMode = device.tuning.mode): CompileTarget {
  const base = untunedTarget(device);
  const { entries } = device.tuning;
  if (mode === false || entries.size === 0) return base;
  const known = tunedTargets.get(entries);
  if (known?.base === base) return known.tuned;
  const tuned = tunedTarget(base, entries);
  tunedTargets.set(entries, { base, tuned });
  return tuned;
}

function untunedTarget(device: Device): CompileTarget {
  const known = targets.get(device);
  if (known !== undefined) return known;
  const target = targetOf(device, device.adapter.isSoftware);
  targets.set(device, target);
  return target;
}

/**
 * Compiles everything from now on as if the device were another one: for tests of kernels that its own target would not
 * choose. Programs that are compiled already stay as they are.
 *
 * @param changes `isSoftware` chooses the defaults of CPUs or of GPUs, the rest replaces single fields. Undefined goes
 *   back to the device's own target.
 *
 * @example
 * retarget(device, { isSoftware: false }); // a software adapter runs what GPUs run
 */
export function retarget(device: Device, changes: Partial<CompileTarget> | undefined): CompileTarget {
  const base = targetOf(device, changes?.isSoftware ?? device.adapter.isSoftware);
  const target = { ...base, ...changes };
  targets.set(device, target);
  return target;
}

function targetOf({ limits, adapter, features }: Device, isSoftware: boolean): CompileTarget {
  const isFixed = adapter.subgroupMinSize === adapter.subgroupMaxSize;
  return {
    isSoftware,
    invocations: isSoftware ? 64 : 16_384,
    lanesPerRow: isSoftware ? 1 : Math.min(256, limits.maxComputeInvocationsPerWorkgroup),
    operandReuse: isSoftware ? 4 : 32,
    likesTallTiles: isSoftware && adapter.subgroupMinSize >= 8,
    keepsLoops: isSoftware,
    broadcastLanes: isSoftware && features.has("subgroups") && isFixed ? adapter.subgroupMinSize : 0,
    maxBindings: limits.maxStorageBuffersPerShaderStage,
    maxWorkgroups: limits.maxComputeWorkgroupsPerDimension,
    maxInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    hasF16: features.has("shader-f16"),
    maxBufferBytes: limits.maxBufferSize,
    // About a tenth of a second on a GPU of one teraflop. Nobody watches over a CPU.
    workPerSubmit: isSoftware ? Number.POSITIVE_INFINITY : 1e11,
    maxBindingBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
  };
}
