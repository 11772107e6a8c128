/** Red, green and blue from 0 to 1. */
export type Rgb = readonly [number, number, number];

/** The colours of the style sheet as numbers, for what is painted without it. */
export interface Palette {
  /** From the lowest ground to the highest. */
  readonly ground: readonly Rgb[];
  /** Contour lines. */
  readonly line: Rgb;
  /** The thalweg. */
  readonly water: Rgb;
  readonly text: Rgb;
  readonly muted: Rgb;
  /** Behind the surface. */
  readonly background: Rgb;
  /** One per runner. */
  readonly series: readonly Rgb[];
}

const groundStops = 5;
export const seriesCount = 8;

/** Reads the palette that the style sheet has for a scheme. */
export function readPalette(scheme: "light" | "dark"): Palette {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.colorScheme = scheme;
  document.body.append(probe);
  const read = (name: string): Rgb => {
    probe.style.color = `var(--${name})`;
    return parseColor(getComputedStyle(probe).color);
  };
  const palette: Palette = {
    ground: Array.from({ length: groundStops }, (_, index) => read(`ground-${index}`)),
    line: read("contour"),
    water: read("water"),
    text: read("text"),
    muted: read("muted"),
    background: read("surface"),
    series: Array.from({ length: seriesCount }, (_, index) => read(`series-${index}`)),
  };
  probe.remove();
  return palette;
}

/** `rgb(…)`, as computed styles have all colours that were written as hexadecimal numbers. */
export function parseColor(text: string): Rgb {
  const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [];
  const [r = 0, g = 0, b = 0] = numbers;
  return [r / 255, g / 255, b / 255];
}

export const formatColor = (color: Rgb): string =>
  `#${color
    .map((part) =>
      Math.round(Math.min(Math.max(part, 0), 1) * 255)
        .toString(16)
        .padStart(2, "0"),
    )
    .join("")}`;

export const mix = (a: Rgb, b: Rgb, share: number): Rgb => [
  a[0] + (b[0] - a[0]) * share,
  a[1] + (b[1] - a[1]) * share,
  a[2] + (b[2] - a[2]) * share,
];

/** The colour of a height between 0 and 1. */
export function groundColor({ ground }: Pick<Palette, "ground">, height: number): Rgb {
  const place = Math.min(Math.max(height, 0), 1) * (ground.length - 1);
  const index = Math.min(Math.floor(place), ground.length - 2);
  // The index is inside of the list, which has two colours at least.
  return mix(ground[index] as Rgb, ground[index + 1] as Rgb, place - index);
}
