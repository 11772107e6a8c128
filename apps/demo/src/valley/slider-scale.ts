import type { FloatSpec, IntegerSpec } from "@thalweg/optim";
import { leastRate, mostRate } from "./paths/client";

/** How the positions of a slider, 0 to `positions`, are values. */
export interface SliderScale {
  readonly kind: "even" | "logarithmic" | "complement";
  readonly low: number;
  readonly high: number;
  readonly positions: number;
  /** The lowest position is 0, which a logarithm does not have. */
  readonly hasZero: boolean;
  readonly isWhole: boolean;
}

/** Fine enough that a step of a learning rate is 2 %. */
const perDecade = 100;

/** The scale of a hyperparameter: rates and amounts by their logarithm, retained fractions by that of their distance from 1. */
export function sliderScale(name: string, spec: FloatSpec | IntegerSpec): SliderScale {
  if (spec.type === "integer") {
    const low = spec.min ?? 0;
    const high = Math.max(4 * spec.default, low + 20);
    return { kind: "even", low, high, positions: high - low, hasZero: false, isWhole: true };
  }
  if (name === "learningRate") return logarithmic(leastRate, mostRate, false);
  if (spec.max === 1) {
    const low = 1e-4;
    return {
      kind: "complement",
      low,
      high: 1,
      positions: perDecade * Math.log10(1 / low),
      hasZero: false,
      isWhole: false,
    };
  }
  const middle = spec.default > 0 ? spec.default : 1e-2;
  return logarithmic(middle * 1e-4, Math.max(middle * 1e3, 1), (spec.min ?? 0) === 0 && spec.open === undefined);
}

function logarithmic(low: number, high: number, hasZero: boolean): SliderScale {
  const positions = Math.round(perDecade * Math.log10(high / low));
  return { kind: "logarithmic", low, high, positions, hasZero, isWhole: false };
}

/** The value at a position, rounded to three digits. */
export function valueAt({ kind, low, high, positions, hasZero, isWhole }: SliderScale, position: number): number {
  const share = position / positions;
  if (kind === "even") {
    const value = low + (high - low) * share;
    return isWhole ? Math.round(value) : value;
  }
  if (kind === "complement") return Number((1 - Number((high * (low / high) ** share).toPrecision(3))).toPrecision(8));
  if (hasZero && position <= 0) return 0;
  return Number((low * (high / low) ** share).toPrecision(3));
}

/** The position of a value; the nearest one, for a value beyond the ends. */
export function positionOf({ kind, low, high, positions, hasZero }: SliderScale, value: number): number {
  const share =
    kind === "even"
      ? (value - low) / (high - low)
      : kind === "complement"
        ? Math.log(Math.max(1 - value, low) / high) / Math.log(low / high)
        : Math.log(Math.max(value, low) / low) / Math.log(high / low);
  // A value of its own position, above that of 0.
  const least = kind === "logarithmic" && hasZero && value > 0 ? 1 : 0;
  return Math.min(Math.max(Math.round(share * positions), least), positions);
}
