import { UnsupportedError } from "../errors";
import type { Device } from "./device";
import { bufferUsage } from "./gpu-flags";

/** The standard's limit for one query set is 4096 queries; a pass needs two. */
const passesPerSet = 2048;

/**
 * Measures compute passes with the GPU's own clock. To time kernels one by one, give each its own pass.
 *
 * Use: `beginComputePass({ timestampWrites: profiler.timestampWrites(i) })` for pass i, then `resolve(encoder)` in the same
 * or a later submission, submit, and `await read()`.
 */
export class TimestampProfiler {
  /** The number of passes that can be timed between two calls of `resolve`. */
  readonly capacity: number;
  readonly #device: Device;
  readonly #sets: readonly GPUQuerySet[];
  readonly #results: GPUBuffer;

  /** True if the device can measure time. */
  static isAvailable(device: Device): boolean {
    return device.features.has("timestamp-query");
  }

  /** @throws UnsupportedError - If the device has no `timestamp-query`. */
  constructor(device: Device, capacity: number) {
    if (!TimestampProfiler.isAvailable(device)) {
      throw new UnsupportedError(
        "TimestampProfiler: this device has no timestamp-query. Time whole steps on the host instead.",
      );
    }
    this.capacity = capacity;
    this.#device = device;
    this.#sets = Array.from({ length: Math.ceil(capacity / passesPerSet) }, (_, set) =>
      device.gpu.createQuerySet({
        label: `timestamps ${set}`,
        type: "timestamp",
        count: 2 * Math.min(passesPerSet, capacity - set * passesPerSet),
      }),
    );
    this.#results = device.gpu.createBuffer({
      label: "timestamps",
      size: capacity * 16,
      usage: bufferUsage.queryResolve | bufferUsage.copySource,
    });
    device.counters.buffersCreated++;
  }

  /** What pass `index`, from 0 to `capacity` - 1, writes its start and end to. */
  timestampWrites(index: number): GPUComputePassTimestampWrites {
    const querySet = this.#sets[Math.floor(index / passesPerSet)];
    if (querySet === undefined || index < 0 || index >= this.capacity) {
      throw new UnsupportedError(`TimestampProfiler: pass ${index} of ${this.capacity}. Make the profiler larger.`);
    }
    const query = 2 * (index % passesPerSet);
    return { querySet, beginningOfPassWriteIndex: query, endOfPassWriteIndex: query + 1 };
  }

  /** Encodes the transfer of all timestamps to where {@link read} finds them. */
  resolve(encoder: GPUCommandEncoder): void {
    for (const [set, querySet] of this.#sets.entries()) {
      encoder.resolveQuerySet(querySet, 0, querySet.count, this.#results, set * passesPerSet * 16);
    }
  }

  /**
   * Nanoseconds of the first `passes` passes of the last {@link resolve}. NaN where the clock went backwards, which
   * real clocks do.
   */
  async read(passes: number = this.capacity): Promise<Float64Array> {
    const ticks = new BigUint64Array(await this.#device.read(this.#results, 0, passes * 16));
    return durations(ticks);
  }

  /** Frees the queries. */
  destroy(): void {
    for (const set of this.#sets) set.destroy();
    this.#results.destroy();
  }
}

/** Differences of pairs (start, end) in nanoseconds; NaN for a negative one. */
export function durations(ticks: BigUint64Array): Float64Array {
  return Float64Array.from({ length: ticks.length / 2 }, (_, pass) => {
    const elapsed = Number((ticks[2 * pass + 1] ?? 0n) - (ticks[2 * pass] ?? 0n));
    return elapsed < 0 ? Number.NaN : elapsed;
  });
}

/** One timed kernel. */
export interface ProfileRow {
  readonly label: string;
  /** Time in nanoseconds; NaN if it could not be measured. */
  readonly ns: number;
  /** Floating-point operations, a fused multiply-add as two. */
  readonly flops: number;
  /** Bytes that the kernel has to read and write at least. */
  readonly bytes: number;
}

/**
 * A table of kernels, the most expensive first: calls, time, rates, share of the total. Rows of one label are added up;
 * calls without a valid time count as calls and for nothing else.
 */
export function formatProfile(rows: readonly ProfileRow[]): string {
  const kernels = new Map<string, { calls: number; ns: number; flops: number; bytes: number }>();
  for (const { label, ns, flops, bytes } of rows) {
    const sum = kernels.get(label) ?? { calls: 0, ns: 0, flops: 0, bytes: 0 };
    kernels.set(label, sum);
    sum.calls++;
    if (Number.isNaN(ns)) continue;
    sum.ns += ns;
    sum.flops += flops;
    sum.bytes += bytes;
  }
  const total = [...kernels.values()].reduce((sum, { ns }) => sum + ns, 0);
  const line = (label: string, calls: number, ns: number, flops: number, bytes: number): string[] => [
    label,
    String(calls),
    formatTime(ns),
    // Operations per nanosecond are billions per second.
    rate(flops, ns),
    rate(bytes, ns),
    total > 0 ? `${((100 * ns) / total).toFixed(1)} %` : "-",
  ];
  const sorted = [...kernels].sort(([a, { ns: left }], [b, { ns: right }]) => right - left || (a < b ? -1 : 1));
  const body = sorted.map(([label, { calls, ns, flops, bytes }]) => line(label, calls, ns, flops, bytes));
  const sums = [...kernels.values()].reduce(
    (sum, { flops, bytes }) => ({ flops: sum.flops + flops, bytes: sum.bytes + bytes }),
    { flops: 0, bytes: 0 },
  );
  const footer = line("total", rows.length, total, sums.flops, sums.bytes);
  return table([["kernel", "calls", "time", "GFLOPS", "GB/s", "share"], ...body, footer]);
}

/** An event of the Chrome trace format. */
interface TraceEvent {
  readonly name: string;
  readonly ph: "X";
  /** Start in microseconds. */
  readonly ts: number;
  /** Duration in microseconds. */
  readonly dur: number;
  readonly pid: number;
  readonly tid: number;
  readonly args: { readonly flops: number; readonly bytes: number };
}

/**
 * The rows one after the other as a trace for chrome://tracing or Perfetto. Write it with `JSON.stringify`. The gaps
 * between kernels are not known and not shown; rows without a valid time are left out.
 *
 * @see Trace Event Format, section "Complete Events".
 */
export function chromeTrace(rows: readonly ProfileRow[]): {
  readonly displayTimeUnit: "ns";
  readonly traceEvents: readonly TraceEvent[];
} {
  let ts = 0;
  const traceEvents: TraceEvent[] = [];
  for (const { label, ns, flops, bytes } of rows) {
    if (Number.isNaN(ns)) continue;
    const dur = ns / 1000;
    traceEvents.push({ name: label, ph: "X", ts, dur, pid: 0, tid: 0, args: { flops, bytes } });
    ts += dur;
  }
  return { displayTimeUnit: "ns", traceEvents };
}

function rate(amount: number, ns: number): string {
  return ns > 0 && amount > 0 ? (amount / ns).toFixed(1) : "-";
}

function formatTime(ns: number): string {
  return `${(ns / 1e6).toFixed(3)} ms`;
}

/** Columns of equal width: the first to the left, numbers to the right. */
function table(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join("  "),
    )
    .join("\n");
}
