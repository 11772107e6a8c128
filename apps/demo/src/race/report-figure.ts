import { aggregate, type RunRecord, renderFigure, type Theme } from "@thalweg/bench";

/** The figure of a report: times to the target and all curves in one picture. A module of its own, loaded when asked for. */
export function reportFigure(records: readonly RunRecord[], theme: Theme): string {
  const [race] = aggregate(records);
  if (race === undefined) throw new Error("There is no finished run to draw.");
  return renderFigure(race, theme);
}
