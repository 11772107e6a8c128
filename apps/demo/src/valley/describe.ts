import type { OptimizerDescription } from "./optimizers";
import type { Path } from "./store";

/** An optimizer's name as readers know it. */
export function optimizerTitle(catalogue: readonly OptimizerDescription[], name: string): string {
  const title = catalogue.find((own) => own.name === name)?.title;
  if (title === undefined) return name;
  return shortTitles[name] ?? title;
}

/** Titles that are too long for a label. */
const shortTitles: Readonly<Record<string, string>> = { sgd: "SGD", nesterov: "Nesterov" };

/** What became of a path, to follow its name in a sentence. */
export function pathStatus({ failure, summary, isComplete }: Path): string {
  if (failure !== undefined) return `cannot run: ${failure}`;
  if (summary === undefined) return "is being computed";
  const { diverged, left, reached } = summary;
  if (diverged !== undefined) return `diverged at step ${diverged}`;
  if (left !== undefined) return `has been off the map since step ${left}`;
  if (reached !== undefined) return `reached a minimum at step ${reached.step}`;
  return isComplete ? "is on its way" : "is being computed";
}

/** A number for a table. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2).replace("e+", "e") : value.toPrecision(4);
  return text.replace(/-/g, "−");
}
