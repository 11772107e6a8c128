import type { KernelTime } from "./engine";
import type { Profile } from "./results";

/** Names for what kernels do, by the first word of their labels. */
const kinds: Readonly<Record<string, string>> = {
  dot: "contractions",
  reduce: "reductions",
  map: "elementwise",
};

/** How many kernels are named. */
const named = 6;

/** Adds up the kernels of several runs. Kernels without a valid time count as kernels and for nothing else. */
export function summarizeKernels(runs: readonly (readonly KernelTime[])[]): Profile | undefined {
  const rows = runs.flat();
  const total = rows.reduce((sum, { ns }) => sum + valid(ns), 0);
  if (total === 0) return undefined;
  const byKind = new Map<string, { kernels: number; ns: number }>();
  const byLabel = new Map<string, { ns: number; flops: number; bytes: number }>();
  for (const { label, ns, flops, bytes } of rows) {
    const word = label.split("_")[0] ?? label;
    const kind = byKind.get(kinds[word] ?? word) ?? { kernels: 0, ns: 0 };
    byKind.set(kinds[word] ?? word, { kernels: kind.kernels + 1, ns: kind.ns + valid(ns) });
    if (Number.isNaN(ns)) continue;
    const own = byLabel.get(label) ?? { ns: 0, flops: 0, bytes: 0 };
    byLabel.set(label, { ns: own.ns + ns, flops: own.flops + flops, bytes: own.bytes + bytes });
  }
  const dearest = <T extends { readonly ns: number }>(entries: Map<string, T>) =>
    [...entries].sort(([, a], [, b]) => b.ns - a.ns);
  return {
    ms: total / 1e6 / runs.length,
    kinds: dearest(byKind).map(([kind, { kernels, ns }]) => ({
      kind,
      kernels: kernels / runs.length,
      share: ns / total,
    })),
    top: dearest(byLabel)
      .slice(0, named)
      .map(([label, { ns, flops, bytes }]) => ({ label, share: ns / total, gflops: flops / ns, gbps: bytes / ns })),
  };
}

const valid = (ns: number): number => (Number.isNaN(ns) ? 0 : ns);
