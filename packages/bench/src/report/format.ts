import type { Metric, RunStatus } from "../records/schema";
import type { Contestant } from "./aggregate";
import type { Quartiles } from "./statistics";

/** Seconds with three significant digits, as `0.42 s`, `12.3 s`, `4 min 05 s`; `never` for an infinite time. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return "never";
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  const whole = Math.round(seconds);
  const rest = (value: number) => String(value).padStart(2, "0");
  if (whole < 7200) return `${Math.floor(whole / 60)} min ${rest(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${rest(Math.floor((whole % 3600) / 60))} min`;
}

/** A count with thousands set off by a thin gap; `never` for an infinite one. */
export function formatCount(count: number): string {
  return Number.isFinite(count)
    ? Math.round(count)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, "\u202f")
    : "never";
}

/** `93.4 %` for an accuracy; four significant digits for a loss. */
export function formatMetric(metric: Metric, value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  return metric === "accuracy" ? `${(value * 100).toFixed(1)} %` : String(Number(value.toPrecision(4)));
}

/** A target as it was given: `90 %`, `92.25 %` or a loss. */
export function formatTarget(metric: Metric, value: number): string {
  return metric === "accuracy" ? `${Number((value * 100).toPrecision(6))} %` : String(value);
}

/** `median (lower – upper)`; the quartiles are left out where there is only one value to speak of. */
export function formatQuartiles({ lower, median, upper }: Quartiles, format: (value: number) => string): string {
  const center = format(median);
  return lower === upper ? center : `${center} (${format(lower)} – ${format(upper)})`;
}

/** What a reader has to know about the runs that missed: `1 diverged at step 13, 1 out of budget`. */
export function formatMisses({ runs, diverged }: Contestant): string {
  const of = (status: RunStatus) => runs.filter(({ end }) => end?.status === status);
  const parts: string[] = [];
  if (diverged > 0) {
    const steps = of("diverged").map(({ end }) => formatCount(end?.divergedStep ?? Number.NaN));
    parts.push(`${diverged} diverged at step ${steps.join(", ")}`);
  }
  const budget = of("budget").length;
  if (budget > 0) parts.push(`${budget} out of budget`);
  const killed = of("killed").length + runs.filter(({ end }) => end === undefined).length;
  if (killed > 0) parts.push(`${killed} not finished`);
  return parts.join(", ");
}

/** The hyperparameters in one line: `learningRate 0.001, beta1 0.9`. */
export function formatHyperparameters(values: Contestant["hyperparameters"]): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
