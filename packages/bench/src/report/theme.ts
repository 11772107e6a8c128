/**
 * The colours of a report. As a page it follows the reader's light or dark setting through CSS variables; as a file
 * (SVG, PNG) it is light, on white, with the values themselves, as few programs that show SVG files know variables.
 */
export interface Theme {
  readonly text: string;
  readonly muted: string;
  readonly grid: string;
  readonly background: string;
  /** One per contestant, in the order of the ranking, used from the start again when there are more. */
  readonly series: readonly string[];
}

/**
 * Eight hues of similar strength, told apart in the usual forms of colour blindness at least in neighbours' pairs.
 * The values are chosen for a contrast of at least 3 : 1 against their background.
 */
export const lightTheme: Theme = {
  text: "#1c2430",
  muted: "#647084",
  grid: "#e3e7ee",
  background: "#ffffff",
  series: ["#1f66d0", "#d3590c", "#118560", "#b8308a", "#7550d4", "#0f87a5", "#8a7411", "#c7343a"],
};

/** The same hues for a dark background. */
export const darkTheme: Theme = {
  text: "#e6eaf1",
  muted: "#98a3b5",
  grid: "#2b3341",
  background: "#12161d",
  series: ["#6ea4ff", "#ff9550", "#3ecf9c", "#f07ac5", "#ab90ff", "#4cc3e0", "#d2b946", "#ff7b7b"],
};

/** For pages: the same fields as references to the variables of {@link themeStyle}. */
export const pageTheme: Theme = {
  text: "var(--text)",
  muted: "var(--muted)",
  grid: "var(--grid)",
  background: "var(--background)",
  series: lightTheme.series.map((_, index) => `var(--series-${index})`),
};

/** Style sheet that defines the variables for both settings. */
export const themeStyle = `:root { color-scheme: light dark; ${variables(lightTheme)} }
@media (prefers-color-scheme: dark) { :root { ${variables(darkTheme)} } }`;

/** The colour of the contestant at a rank, counted from 0. */
export function seriesColor(theme: Theme, rank: number): string {
  // The remainder is always inside the array.
  return theme.series[rank % theme.series.length] as string;
}

function variables({ text, muted, grid, background, series }: Theme): string {
  const named = { text, muted, grid, background };
  return [
    ...Object.entries(named).map(([name, value]) => `--${name}: ${value};`),
    ...series.map((value, index) => `--series-${index}: ${value};`),
  ].join(" ");
}

/** Fonts in the order of preference. The first is the one that PNG files are drawn with. */
export const fontFamily = "'IBM Plex Sans', system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
