import { contours } from "d3-contour";
import { compileValue } from "../formula/evaluate";
import type { Expression } from "../formula/expression";
import { compileJet, jetValue, jetX, jetY } from "../formula/jet";
import { type Domain, heightOf, type Point, widthOf } from "./domain";
import { columnX, type Grid, rowY, sampleGrid, sortedFinite } from "./grid";
import { contourLevels, type HeightScale, heightOfValue, heightSlope, makeScale, type ScaleKind } from "./height-scale";
import { findMinima, type Minimum } from "./minima";
import { findThalweg } from "./thalweg";

/** What the map and the surface are drawn from. */
export interface Terrain {
  readonly domain: Domain;
  readonly scale: HeightScale;
  /** From the lowest level to the highest one. */
  readonly contours: readonly Contour[];
  /** Where lines carry their values, in the square of the paths. */
  readonly labels: readonly ContourLabel[];
  /** Where the formula has no value, as an SVG path like those of the contours; empty if it has one everywhere. */
  readonly undefinedPath: string;
  readonly minima: readonly Minimum[];
  /** Longest first. */
  readonly thalweg: readonly (readonly Point[])[];
  readonly mesh: Mesh;
}

export interface Contour {
  readonly value: number;
  /** The level's height between 0 and 1. */
  readonly height: number;
  /** The ground at and above this level as an SVG path, in a square of {@link pathSize} with y downwards. */
  readonly path: string;
}

/** A line's value, written along it. */
export interface ContourLabel extends Point {
  readonly text: string;
  /** Of the text, in degrees, clockwise; between -90 and 90. */
  readonly angle: number;
}

/** The ground as the surface has it, in a unit square: row by row from the bottom. */
export interface Mesh {
  readonly nodes: number;
  /** Per node: height, and its derivatives along the sides of the unit square. NaN where the formula has no value. */
  readonly values: Float32Array;
}

/** Width and height of the square in which contours are drawn. */
export const pathSize = 1000;

/** Nodes along each axis: of the map, of the thalweg's grid, and of the surface. */
const [mapNodes, thalwegNodes, meshNodes] = [385, 161, 193];

/** Computes everything that is drawn of a formula in a domain. Takes a good part of a second. */
export function computeTerrain(formula: Expression, domain: Domain, kind?: ScaleKind): Terrain {
  const grid = sampleGrid(domain, mapNodes, compileValue(formula));
  const jet = compileJet(formula);
  const minima = findMinima(grid, jet);
  const scale = makeScale(sortedFinite(grid), minima[0]?.value, kind);
  const heights = grid.values.map((value) => heightOfValue(scale, value));
  const above = contours().size([grid.columns, grid.rows]);
  const lines = contourLevels(scale).map((value) => {
    const height = heightOfValue(scale, value);
    return { value, height, rings: ringsOf(above.contour(Array.from(heights, lowWhereUndefined), height), grid) };
  });
  return {
    domain,
    scale,
    contours: lines.map(({ value, height, rings }) => ({ value, height, path: pathOf(rings) })),
    labels: labelsOf(lines, scale),
    undefinedPath: undefinedPath(heights, grid),
    minima,
    thalweg: findThalweg(domain, thalwegNodes, jet),
    mesh: makeMesh(domain, scale, jet),
  };
}

/** Ground that is not there is below every level. */
const lowWhereUndefined = (height: number): number => (Number.isNaN(height) ? -1 : height);

function undefinedPath(heights: Float64Array, grid: Grid): string {
  if (!heights.some(Number.isNaN)) return "";
  const holes = Array.from(heights, (height) => Number(Number.isNaN(height)));
  return pathOf(ringsOf(contours().size([grid.columns, grid.rows]).contour(holes, 0.5), grid));
}

type Ring = readonly Point[];

/** The closed lines of a contour in the square of the paths. Nodes are at half-integers in what d3-contour returns. */
function ringsOf(
  { coordinates }: ReturnType<ReturnType<typeof contours>["contour"]>,
  { columns, rows }: Grid,
): readonly Ring[] {
  return coordinates.flat().map((ring) =>
    ring.slice(0, -1).map(([column = 0, row = 0]) => ({
      x: ((column - 0.5) / (columns - 1)) * pathSize,
      y: (1 - (row - 0.5) / (rows - 1)) * pathSize,
    })),
  );
}

function pathOf(rings: readonly Ring[]): string {
  return rings.map((ring) => `M${ring.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z`).join("");
}

/** Labels keep this far from each other and from the border. */
const [labelDistance, labelMargin] = [150, 45];

/** The places of the values: on every line at most once, where it is straight and no other label is near. */
function labelsOf(
  lines: readonly { readonly value: number; readonly rings: readonly Ring[] }[],
  { kind, low }: HeightScale,
): readonly ContourLabel[] {
  const labels: ContourLabel[] = [];
  // From the highest line down: those are the longest.
  for (const { value, rings } of [...lines].reverse()) {
    const ring = rings.reduce<Ring>((longest, own) => (own.length > longest.length ? own : longest), []);
    const places = ring.flatMap((place, index) => (index % 6 === 0 ? labelAt(ring, index, place) : []));
    const free = places.filter(
      ({ x, y }) =>
        Math.min(x, y, pathSize - x, pathSize - y) > labelMargin &&
        labels.every((other) => Math.hypot(other.x - x, other.y - y) > labelDistance),
    );
    const best = free.sort((a, b) => a.bend - b.bend)[0];
    if (best === undefined) continue;
    const text = kind === "even" ? format(value) : `${low === 0 ? "" : "+"}${format(value - low)}`;
    labels.push({ x: best.x, y: best.y, angle: best.angle, text });
  }
  return labels;
}

/** The angle of a ring at one of its points, and by how much it turns around there; nothing at the ends of a short ring. */
function labelAt(ring: Ring, index: number, { x, y }: Point): readonly (Point & { angle: number; bend: number })[] {
  const reach = 8;
  const [before, after] = [ring[index - reach], ring[index + reach]];
  if (before === undefined || after === undefined) return [];
  const turn = Math.atan2(after.y - y, after.x - x) - Math.atan2(y - before.y, x - before.x);
  const angle = (Math.atan2(after.y - before.y, after.x - before.x) * 180) / Math.PI;
  const upright = angle > 90 ? angle - 180 : angle < -90 ? angle + 180 : angle;
  return [
    { x, y, angle: upright, bend: Math.abs(Math.atan2(Math.sin(turn), Math.cos(turn))) + Math.abs(upright) / 400 },
  ];
}

/** At most four digits, and no exponent up to a million. */
function format(value: number): string {
  const rounded = Number(value.toPrecision(4));
  return Math.abs(rounded) >= 1e6 || (rounded !== 0 && Math.abs(rounded) < 1e-4)
    ? rounded.toExponential().replace("e+", "e")
    : String(rounded);
}

function makeMesh(domain: Domain, scale: HeightScale, jet: (x: number, y: number) => Float64Array): Mesh {
  const nodes = meshNodes;
  const values = new Float32Array(nodes * nodes * 3);
  const frame = { domain, columns: nodes, rows: nodes };
  for (let row = 0; row < nodes; row++) {
    for (let column = 0; column < nodes; column++) {
      const now = jet(columnX(frame, column), rowY(frame, row));
      const value = now[jetValue] as number;
      const slope = heightSlope(scale, value);
      const at = (row * nodes + column) * 3;
      values[at] = heightOfValue(scale, value);
      values[at + 1] = slope * (now[jetX] as number) * widthOf(domain);
      values[at + 2] = slope * (now[jetY] as number) * heightOf(domain);
    }
  }
  return { nodes, values };
}
