import { jetX, jetXX, jetXY, jetY, jetYY } from "../formula/jet";
import { contains, type Domain, diagonalOf, heightOf, type Point, widthOf } from "./domain";

type Jet = (x: number, y: number) => Float64Array;

/** Lines shorter than this share of the map's diagonal tell nothing. */
const shortest = 0.1;

/** How many points are tried on either side of where the next point of a line is expected. */
const tries = 24;

/**
 * The thalweg: the line of lowest ground along a valley. Among all points of the same height it takes those at which the
 * slope is least, which are where the gradient is an eigenvector of the Hessian (a gradient extremal) and the ground bends
 * up across it, more than along it.
 *
 * Those are zeros of det(g, H g). Where the edges of a grid cross such a zero, a line begins; from there it is followed in
 * both directions, step by step, each step brought back to the zero by bisection. So every point lies on the line up to
 * rounding, and valleys narrower than a cell, of which a grid alone would see pieces, are seen whole.
 *
 * @see Hoffman, Nord and Ruedenberg, Gradient extremals (Theoretica Chimica Acta 69, 1986)
 * @param nodes Of the grid, along each axis.
 * @returns Lines of points, longest first.
 */
export function findThalweg(domain: Domain, nodes: number, jet: Jet): readonly (readonly Point[])[] {
  const cell: Point = { x: widthOf(domain) / (nodes - 1), y: heightOf(domain) / (nodes - 1) };
  const covered = new Set<string>();
  const keyOf = ({ x, y }: Point, column = 0, row = 0): string =>
    `${Math.floor((x - domain.left) / cell.x) + column},${Math.floor((y - domain.bottom) / cell.y) + row}`;
  const isCovered = (point: Point): boolean =>
    [-1, 0, 1].some((column) => [-1, 0, 1].some((row) => covered.has(keyOf(point, column, row))));
  const lines: (readonly Point[])[] = [];
  for (const seed of seedsOf(domain, nodes, jet)) {
    if (isCovered(seed)) continue;
    const line = lineThrough(seed, { domain, cell, jet });
    for (const point of line) covered.add(keyOf(point));
    lines.push(line);
  }
  const least = shortest * diagonalOf(domain);
  return lines
    .map((line) => ({ line, length: lengthOf(line) }))
    .filter(({ length }) => length >= least)
    .sort((a, b) => b.length - a.length)
    .map(({ line }) => line);
}

/** Where the edges of the grid cross a valley's floor. */
function seedsOf(domain: Domain, nodes: number, jet: Jet): Point[] {
  const [dx, dy] = [widthOf(domain) / (nodes - 1), heightOf(domain) / (nodes - 1)];
  const at = (column: number, row: number): Point => ({ x: domain.left + dx * column, y: domain.bottom + dy * row });
  const twists = new Float64Array(nodes * nodes);
  for (let row = 0; row < nodes; row++) {
    for (let column = 0; column < nodes; column++) twists[row * nodes + column] = twist(jet, at(column, row));
  }
  const seeds: Point[] = [];
  const addCrossing = (column: number, row: number, nextColumn: number, nextRow: number): void => {
    const [from, to] = [twists[row * nodes + column] as number, twists[nextRow * nodes + nextColumn] as number];
    if (from < 0 === to < 0) return;
    const point = zeroBetween(jet, at(column, row), at(nextColumn, nextRow));
    if (point !== undefined && isValleyFloor(jet, point)) seeds.push(point);
  };
  for (let row = 0; row < nodes; row++) {
    for (let column = 0; column < nodes; column++) {
      if (column + 1 < nodes) addCrossing(column, row, column + 1, row);
      if (row + 1 < nodes) addCrossing(column, row, column, row + 1);
    }
  }
  return seeds;
}

interface Ground {
  readonly domain: Domain;
  /** Width and height of a cell of the grid. */
  readonly cell: Point;
  readonly jet: Jet;
}

/** The line through a point of it, to both sides. */
function lineThrough(seed: Point, ground: Ground): readonly Point[] {
  const direction = directionAt(seed, ground);
  const forth = follow(seed, direction, ground);
  const isRing = forth.length > 2 && forth.at(-1) === seed;
  if (isRing) return [seed, ...forth];
  const back = follow(seed, { x: -direction.x, y: -direction.y }, ground);
  return [...back.reverse(), seed, ...forth];
}

/** Along the zero line, in units of cells and of length 1. */
function directionAt({ x, y }: Point, { cell, jet }: Ground): Point {
  const small = 1e-3;
  const at = (a: number, b: number) => twist(jet, { x: x + a * small * cell.x, y: y + b * small * cell.y });
  return unit({ x: at(0, -1) - at(0, 1), y: at(1, 0) - at(-1, 0) });
}

function unit({ x, y }: Point): Point {
  const length = Math.hypot(x, y);
  return length > 0 ? { x: x / length, y: y / length } : { x: 1, y: 0 };
}

/**
 * The points after `start` in a direction, half a cell from each other, until the line ends, leaves the map, or comes back
 * to its start, which is then its last point.
 */
function follow(start: Point, direction: Point, { domain, cell, jet }: Ground): Point[] {
  const points: Point[] = [];
  const longest = 40 * Math.ceil(widthOf(domain) / cell.x);
  const stride = 0.5;
  let [here, ahead] = [start, direction];
  while (points.length < longest) {
    const expected = { x: here.x + stride * ahead.x * cell.x, y: here.y + stride * ahead.y * cell.y };
    const across = { x: -ahead.y * cell.x * stride, y: ahead.x * cell.y * stride };
    const next = nearestFloor(expected, across, jet);
    if (next === undefined) return points;
    if (!contains(domain, next)) return [...points, borderPoint(here, next, domain)];
    const isBack = points.length > 4 && Math.hypot((next.x - start.x) / cell.x, (next.y - start.y) / cell.y) < stride;
    if (isBack) return [...points, start];
    points.push(next);
    ahead = unit({ x: (next.x - here.x) / cell.x, y: (next.y - here.y) / cell.y });
    here = next;
  }
  return points;
}

/** Where the way from a point inside to one outside crosses the border. */
function borderPoint(inside: Point, outside: Point, { left, right, bottom, top }: Domain): Point {
  const share = (from: number, to: number, low: number, high: number): number =>
    to > high ? (high - from) / (to - from) : to < low ? (low - from) / (to - from) : 1;
  const way = Math.min(share(inside.x, outside.x, left, right), share(inside.y, outside.y, bottom, top));
  return { x: inside.x + way * (outside.x - inside.x), y: inside.y + way * (outside.y - inside.y) };
}

/** The point of a valley's floor on the line from `centre - across` to `centre + across` that is nearest to the centre. */
function nearestFloor(centre: Point, across: Point, jet: Jet): Point | undefined {
  const at = (share: number): Point => ({ x: centre.x + across.x * share, y: centre.y + across.y * share });
  const isNegative = (share: number): boolean => twist(jet, at(share)) < 0;
  const middle = isNegative(0);
  let [left, right] = [middle, middle];
  for (let index = 1; index <= tries; index++) {
    // Closer together near the centre, where other lines may meet this one.
    const [inner, outer] = [((index - 1) / tries) ** 2, (index / tries) ** 2];
    for (const side of [1, -1]) {
      const now = isNegative(side * outer);
      const isCrossed = now !== (side === 1 ? right : left);
      if (side === 1) right = now;
      else left = now;
      const zero = isCrossed ? zeroBetween(jet, at(side * inner), at(side * outer)) : undefined;
      if (zero !== undefined && isValleyFloor(jet, zero)) return zero;
    }
  }
  return undefined;
}

/** det(g, H g): 0 where the gradient is an eigenvector of the Hessian. */
function twist(jet: Jet, { x, y }: Point): number {
  const now = jet(x, y);
  const [gx, gy] = [now[jetX] as number, now[jetY] as number];
  const [xx, xy, yy] = [now[jetXX] as number, now[jetXY] as number, now[jetYY] as number];
  return gx * (xy * gx + yy * gy) - gy * (xx * gx + xy * gy);
}

/** A zero of {@link twist} between points where it has different signs, by bisection. */
function zeroBetween(jet: Jet, a: Point, b: Point): Point | undefined {
  let [low, high] = [0, 1];
  const between = (share: number): Point => ({ x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * share });
  const isNegative = twist(jet, a) < 0;
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    const value = twist(jet, between(middle));
    if (Number.isNaN(value)) return undefined;
    if (value < 0 === isNegative) low = middle;
    else high = middle;
  }
  return between((low + high) / 2);
}

/** Whether the ground bends up across the gradient, and more than along it. */
function isValleyFloor(jet: Jet, { x, y }: Point): boolean {
  const now = jet(x, y);
  const [gx, gy] = [now[jetX] as number, now[jetY] as number];
  const [xx, xy, yy] = [now[jetXX] as number, now[jetXY] as number, now[jetYY] as number];
  const squared = gx * gx + gy * gy;
  const along = (xx * gx * gx + 2 * xy * gx * gy + yy * gy * gy) / squared;
  const across = xx + yy - along;
  return across > 0 && across > along;
}

function lengthOf(line: readonly Point[]): number {
  return line.slice(1).reduce((sum, { x, y }, index) => {
    const before = line[index] as Point;
    return sum + Math.hypot(x - before.x, y - before.y);
  }, 0);
}
