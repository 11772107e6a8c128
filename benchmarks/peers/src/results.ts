import type { Counts } from "./counting";

/** A results file: what was measured, on what, when, by which versions. */
export interface Results {
  readonly kind: "peers";
  readonly adapter: AdapterName;
  /** The day of the last row, YYYY-MM-DD. */
  readonly date: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

export interface AdapterName {
  /** For people. */
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  /** Driver and its version, where the runtime tells. */
  readonly description: string;
  /** True if it computes on the CPU. */
  readonly isSoftware: boolean;
}

/** One engine on one case. All that is measured is missing where the engine could not run the case. */
export interface Row extends Partial<Measurement> {
  readonly case: string;
  readonly type: "kernel" | "training";
  /** What the case is. */
  readonly description: string;
  readonly engine: string;
  readonly version: string;
  /** Why there are no times: the engine's message, or in what its numbers differ. */
  readonly error?: string;
}

/** Counts are per run: a training step, or a single operation. */
export interface Measurement extends Counts {
  /** Median over the rounds of the time of one run, in milliseconds. */
  readonly msMedian: number;
  /** Lower and upper quartile over the rounds. */
  readonly msQuartiles: readonly [number, number];
  /** Time from the first call to its result: tracing, compiling shaders, allocating, running. */
  readonly firstMs: number;
  /** Bytes of the engine's buffers that existed at one time at most, pools and staging included. */
  readonly peakBytes: number;
  /** Memory of a run as the engine plans it, and the least that its order of kernels needs. */
  readonly plannedBytes: { readonly peak: number; readonly lowerBound: number };
  /** Largest deviation of the results, in units of the tolerance. */
  readonly deviation: number;
  /** Losses of the first steps. */
  readonly losses: readonly number[];
  /** Floating-point operations of a run, where they are what limits it. */
  readonly flops: number;
  /** Bytes that a run has to move at least. */
  readonly bytes: number;
  /** Where the time on the GPU goes. */
  readonly profile: Profile;
  readonly batchSize: number;
  /** Runs per round. */
  readonly runs: number;
  readonly rounds: number;
}

/** Time of an engine's kernels in one run. */
export interface Profile {
  /** Sum over the kernels, in milliseconds. */
  readonly ms: number;
  /** By kind of kernel, the most expensive first. */
  readonly kinds: readonly { readonly kind: string; readonly kernels: number; readonly share: number }[];
  /** The most expensive kernels. */
  readonly top: readonly {
    readonly label: string;
    readonly share: number;
    /** Billions of operations and of bytes per second. */
    readonly gflops: number;
    readonly gbps: number;
  }[];
}
