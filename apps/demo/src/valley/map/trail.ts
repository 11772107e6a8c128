import { pointAt } from "../paths/summary";
import type { Point } from "../terrain/domain";
import { type Frame, toX, toY } from "./frame";

/** A path in the picture, ready to be drawn up to any time. */
export interface Trail {
  /** The line through all points up to a step, and on to a fraction of the next one, as an SVG path. */
  line(time: number): string;
  /** A dot at every step up to a time, as an SVG path for a round line end; empty where dots would run together. */
  dots(time: number): string;
  /** Where the runner is, in pixels. */
  place(time: number): Point;
}

/** Pixels: what is farther away is drawn here, in its direction, as numbers in a picture must end somewhere. */
const farthest = 1e5;

/** Steps must be this many pixels apart on average for their dots to be seen. */
const dotDistance = 5;

/** @param last The last step that is drawn. */
export function makeTrail(points: Float32Array, last: number, frame: Frame): Trail {
  const clamp = (value: number): number => Math.min(Math.max(value, -farthest), farthest);
  const placeAt = (step: number): Point => {
    const { x, y } = pointAt(points, step);
    return { x: clamp(toX(frame, x)), y: clamp(toY(frame, y)) };
  };
  const places = Array.from({ length: last + 1 }, (_, step) => placeAt(step));
  // A prefix of one long string is a line up to a step: nothing is formatted while it plays.
  const lines = prefixes(places.map((place, step) => `${step === 0 ? "M" : "L"}${write(place)}`));
  const dots = prefixes(places.map((place) => `M${write(place)}h0`));
  const isInside = ({ x, y }: Point) => x >= 0 && y >= 0 && x <= frame.width && y <= frame.height;
  const inside = places.filter(isInside);
  const length = inside.slice(1).reduce((sum, { x, y }, index) => {
    const before = inside[index] as Point;
    return sum + Math.hypot(x - before.x, y - before.y);
  }, 0);
  const showsDots = length / Math.max(inside.length - 1, 1) >= dotDistance;
  const stepAt = (time: number): number => Math.min(Math.floor(time), last);
  const place = (time: number): Point => {
    const step = stepAt(time);
    const from = places[step] as Point;
    const to = places[step + 1] ?? from;
    const share = Math.min(time - step, 1);
    return { x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share };
  };
  return {
    line: (time) => `${lines(stepAt(time))}L${write(place(time))}`,
    dots: (time) => (showsDots ? dots(stepAt(time)) : ""),
    place,
  };
}

const write = ({ x, y }: Point): string => `${x.toFixed(1)} ${y.toFixed(1)}`;

/** The strings joined, up to and including any one. */
function prefixes(parts: readonly string[]): (last: number) => string {
  const ends: number[] = [];
  let end = 0;
  for (const part of parts) {
    end += part.length;
    ends.push(end);
  }
  const text = parts.join("");
  return (last) => text.slice(0, ends[last]);
}
