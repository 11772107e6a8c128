import { useRef } from "preact/hooks";
import { formatValue } from "./describe";
import { leastRate, mostRate, sweepRates } from "./paths/client";
import type { Store } from "./store";
import { useWidth } from "./use-width";

interface RateCurveProps {
  readonly store: Store;
  readonly index: number;
  readonly rate: number;
}

const height = 46;
/** Half the width of a slider's thumb: the ends of its way are so far from those of the slider. */
const inset = 8;

/**
 * What every learning rate would have led to, under the slider and on its scale: the last value, logarithmically above the
 * lowest one. Where the path diverges the ground is hatched.
 */
export function RateCurve({ store, index, rate }: RateCurveProps) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const sweep = store.sweeps.value[index];
  const [f, terrain] = [store.objective.value?.f, store.terrain.value];
  const values =
    sweep === undefined || f === undefined
      ? []
      : sweepRates.map((_, at) => f(sweep.ends[2 * at] as number, sweep.ends[2 * at + 1] as number));
  const { start } = store.configuration.value;
  const low = terrain?.minima[0]?.value ?? terrain?.scale.low ?? 0;
  const curve = curveOf(values, low, f?.(start.x, start.y) ?? 1);
  const toX = (own: number): number =>
    inset + (Math.log(own / leastRate) / Math.log(mostRate / leastRate)) * (width - 2 * inset);
  const toY = (share: number): number => 4 + (1 - share) * (height - 8);
  const place = (at: number): number => toX(sweepRates[at] as number);
  const best = values.reduce(
    (least, value, at) => (value < (values[least] ?? Number.POSITIVE_INFINITY) ? at : least),
    -1,
  );
  const diverged = curve.indexOf(undefined);
  return (
    <div class="rate-curve" ref={box}>
      {width > 0 && (
        <svg width={width} height={height} role="img" aria-label={summary(values, best, diverged)}>
          <rect class="field-of-curve" x={inset} y="0" width={width - 2 * inset} height={height} rx="3" />
          {runsOf(curve, (share) => share === undefined).map(([from, to]) => (
            <rect
              key={from}
              class="diverged"
              x={from === 0 ? inset : (place(from - 1) + place(from)) / 2}
              width={
                (to === curve.length - 1 ? width - inset : (place(to) + place(to + 1)) / 2) -
                (from === 0 ? inset : (place(from - 1) + place(from)) / 2)
              }
              y="0"
              height={height}
            >
              <title>These rates diverge.</title>
            </rect>
          ))}
          {runsOf(curve, (share) => share !== undefined).map(([from, to]) => (
            <path
              key={from}
              class="curve"
              d={`M${curve
                .slice(from, to + 1)
                .map((share, offset) => `${place(from + offset).toFixed(1)} ${toY(share as number).toFixed(1)}`)
                .join("L")}h0.01`}
            />
          ))}
          <path class="rate" d={`M${Math.min(Math.max(toX(rate), inset), width - inset)} 0v${height}`} />
        </svg>
      )}
    </div>
  );
}

/** Decades below the value at the start that the curve shows. */
const decades = 8;

/** Heights between 0 and 1; undefined where the path diverged. */
function curveOf(values: readonly number[], low: number, start: number): readonly (number | undefined)[] {
  const top = Math.log10(Math.max(start - low, 1e-30)) + 1;
  return values.map((value) => {
    if (!Number.isFinite(value) || Math.log10(Math.max(value - low, 1e-30)) > top + 3) return undefined;
    const share = (Math.log10(Math.max(value - low, 1e-30)) - (top - decades)) / decades;
    return Math.min(Math.max(share, 0), 1);
  });
}

/** First and last index of every run of elements that satisfy a condition. */
function runsOf<T>(list: readonly T[], is: (element: T) => boolean): readonly (readonly [number, number])[] {
  const runs: [number, number][] = [];
  for (const [index, element] of list.entries()) {
    if (!is(element)) continue;
    const last = runs.at(-1);
    if (last?.[1] === index - 1) last[1] = index;
    else runs.push([index, index]);
  }
  return runs;
}

function summary(values: readonly number[], best: number, diverged: number): string {
  const value = values[best];
  if (value === undefined) return "Last values over the learning rate: being computed.";
  const rate = (at: number): string => formatValue(sweepRates[at] as number);
  const end = diverged > 0 ? ` From ${rate(diverged)} on paths diverge.` : "";
  return `Last values over the learning rate: lowest, ${formatValue(value)}, at about ${rate(best)}.${end}`;
}
