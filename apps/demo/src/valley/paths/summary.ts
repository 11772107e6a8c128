import { contains, type Domain, diagonalOf, type Point } from "../terrain/domain";
import type { Minimum } from "../terrain/minima";

/** How near to a minimum a path must come to have reached it. */
export const reach = 1e-3;

/** A path this many diagonals of the map away from it does not come back. */
const farthest = 1000;

/** What became of a path. */
export interface PathSummary {
  /** The first step within {@link reach} of a minimum. */
  readonly reached?: { readonly step: number; readonly minimum: Minimum };
  /** The first step whose point is no number, or out of all reach. */
  readonly diverged?: number;
  /** The first step since which the path is outside of the map. */
  readonly left?: number;
  /** The last point before it diverged, and the function there. */
  readonly end: Point;
  readonly value: number;
}

/** The point after a number of steps; 0 is the start. */
export const pointAt = (points: Float32Array, step: number): Point => ({
  x: points[2 * step] as number,
  y: points[2 * step + 1] as number,
});

export const stepsOf = (points: Float32Array): number => points.length / 2 - 1;

/** The last point that can be shown: the path up to there has finite coordinates. */
export function lastStep(points: Float32Array, { diverged }: Pick<PathSummary, "diverged">): number {
  return diverged === undefined ? stepsOf(points) : diverged - 1;
}

/**
 * Follows a path in float64.
 *
 * @param points x, y, x, y, … beginning with the start.
 * @param f The function that is minimized.
 */
export function summarize(
  points: Float32Array,
  f: (x: number, y: number) => number,
  { minima, domain }: { readonly minima: readonly Minimum[]; readonly domain: Domain },
): PathSummary {
  const steps = stepsOf(points);
  const diverged = firstStep(steps, (step) => isLost(pointAt(points, step), f, domain));
  const last = diverged === undefined ? steps : Math.max(diverged - 1, 0);
  let left: number | undefined;
  for (let step = last; step >= 0 && !contains(domain, pointAt(points, step)); step--) left = step;
  const near = (step: number): Minimum | undefined => {
    const { x, y } = pointAt(points, step);
    return minima.find((minimum) => Math.hypot(minimum.x - x, minimum.y - y) <= reach);
  };
  const reachedStep = firstStep(last, (step) => near(step) !== undefined);
  const end = pointAt(points, last);
  return {
    ...(reachedStep !== undefined && { reached: { step: reachedStep, minimum: near(reachedStep) as Minimum } }),
    ...(diverged !== undefined && { diverged }),
    ...(left !== undefined && { left }),
    end,
    value: f(end.x, end.y),
  };
}

function firstStep(last: number, is: (step: number) => boolean): number | undefined {
  for (let step = 0; step <= last; step++) if (is(step)) return step;
  return undefined;
}

function isLost({ x, y }: Point, f: (x: number, y: number) => number, domain: Domain): boolean {
  const [dx, dy] = [x - (domain.left + domain.right) / 2, y - (domain.bottom + domain.top) / 2];
  // Written so that NaN is lost too.
  return !(Math.hypot(dx, dy) <= farthest * diagonalOf(domain)) || !Number.isFinite(f(x, y));
}
