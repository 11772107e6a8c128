import type { Point } from "../terrain/domain";

/** A label beside a point. */
export interface PlacedLabel extends Point {
  readonly anchor: "start" | "end";
}

const [offset, lineHeight] = [10, 15];

/**
 * Places for one label per point, beside it on the side with more room, and moved up or down so that none covers another.
 *
 * @param widths Of the labels.
 * @param box Inside of which they stay.
 */
export function placeLabels(
  points: readonly Point[],
  widths: readonly number[],
  box: { readonly left: number; readonly right: number; readonly top: number; readonly bottom: number },
): readonly PlacedLabel[] {
  const order = points.map((_, index) => index).sort((a, b) => (points[a] as Point).y - (points[b] as Point).y);
  const placed: (PlacedLabel & { readonly from: number; readonly to: number })[] = new Array(points.length);
  const done: (typeof placed)[number][] = [];
  for (const index of order) {
    const { x, y } = points[index] as Point;
    const width = widths[index] as number;
    const fitsRight = x + offset + width <= box.right;
    const at = fitsRight ? x + offset : x - offset;
    const [from, to] = fitsRight ? [at, at + width] : [at - width, at];
    let middle = Math.min(Math.max(y, box.top + lineHeight / 2), box.bottom - lineHeight / 2);
    // Down past every label in the way; those come from above, in order.
    for (const other of done) {
      const overlaps = from < other.to && other.from < to && Math.abs(middle - other.y) < lineHeight;
      if (overlaps) middle = other.y + lineHeight;
    }
    if (middle > box.bottom - lineHeight / 2) middle = lowestFree(done, from, to, box.bottom - lineHeight / 2);
    const label = { x: at, y: middle, anchor: fitsRight ? ("start" as const) : ("end" as const), from, to };
    placed[index] = label;
    done.push(label);
    done.sort((a, b) => a.y - b.y);
  }
  return placed.map(({ x, y, anchor }) => ({ x, y, anchor }));
}

/** The lowest place at or above `start` that no label is at. */
function lowestFree(
  done: readonly { readonly y: number; readonly from: number; readonly to: number }[],
  from: number,
  to: number,
  start: number,
): number {
  let middle = start;
  for (const other of [...done].reverse()) {
    if (from < other.to && other.from < to && Math.abs(middle - other.y) < lineHeight) middle = other.y - lineHeight;
  }
  return middle;
}
