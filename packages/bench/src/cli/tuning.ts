import type { ClassReport } from "@thalweg/tensor";

/**
 * What was measured since the device was opened: nothing where everything was known or nobody asked, else one line about
 * the gain, and one for every variant that did not work.
 */
export function describeTuning(reports: readonly ClassReport[]): string[] {
  if (reports.length === 0) return [];
  const speedups = reports.map(({ speedup }) => speedup).sort((a, b) => a - b);
  const middle = speedups[Math.floor(speedups.length / 2)] as number;
  const most = speedups.at(-1) as number;
  const kinds = reports.length === 1 ? "one class of kernels" : `${reports.length} classes of kernels`;
  return [
    `tuned ${kinds}: the median one runs ${middle.toFixed(2)} times as fast as before, the best ${most.toFixed(2)} times`,
    ...reports.flatMap(({ label, candidates }) =>
      candidates.flatMap(({ variant, outcome, reason }) =>
        outcome === "failed" || outcome === "wrong"
          ? [
              `tuning ${label}: left out ${JSON.stringify(variant)}, which ${phrases[outcome]} (${reason ?? "no reason given"})`,
            ]
          : [],
      ),
    ),
  ];
}

const phrases = { failed: "does not run", wrong: "computes something else" } as const;
