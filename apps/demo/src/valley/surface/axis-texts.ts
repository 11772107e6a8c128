import { type Domain, heightOf, widthOf } from "../terrain/domain";
import { ticks } from "../terrain/height-scale";
import { base } from "./geometry";

/** A text at a place of the world. */
export interface AxisText {
  readonly at: readonly [number, number, number];
  readonly text: string;
  /** The axis's name, not one of its ticks. */
  readonly isName: boolean;
}

/** How far from the middle ticks and names are; the edges are at 1. */
const [tickDistance, nameDistance] = [1.1, 1.26];

/** Ticks and names along the two lower edges that are nearer to the eye. */
export function axisTexts(domain: Domain, eye: readonly [number, number, number]): readonly AxisText[] {
  const [sideX, sideY] = [eye[0] < 0 ? -1 : 1, eye[1] > 0 ? 1 : -1];
  const share = (value: number, low: number, length: number): number => (2 * (value - low)) / length - 1;
  const tick = (value: number, at: AxisText["at"]): AxisText => ({
    at,
    text: String(value).replace("-", "−"),
    isName: false,
  });
  const { left, right, bottom, top } = domain;
  return [
    ...ticks(left, right, 4).map((x) => tick(x, [share(x, left, widthOf(domain)), sideY * tickDistance, base])),
    ...ticks(bottom, top, 4).map((y) => tick(y, [sideX * tickDistance, share(y, bottom, heightOf(domain)), base])),
    { at: [0, sideY * nameDistance, base], text: "x", isName: true },
    { at: [sideX * nameDistance, 0, base], text: "y", isName: true },
  ];
}
