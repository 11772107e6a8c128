import { jetValue, jetX, jetXX, jetXY, jetY, jetYY } from "../formula/jet";
import { contains, type Point } from "./domain";
import { columnX, type Grid, rowY } from "./grid";

export interface Minimum extends Point {
  readonly value: number;
}

/** Of more minima than this the lowest ones are kept. */
const most = 24;

/**
 * The minima inside of a grid's domain: every node that is lower than its neighbours, followed downwards. What lies on the
 * border because the ground falls further outside is none.
 */
export function findMinima(grid: Grid, jet: (x: number, y: number) => Float64Array): readonly Minimum[] {
  const { columns, rows } = grid;
  const [dx, dy] = [columnX(grid, 1) - columnX(grid, 0), rowY(grid, 1) - rowY(grid, 0)];
  const starts: Point[] = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (isLowest(grid, column, row)) starts.push({ x: columnX(grid, column), y: rowY(grid, row) });
    }
  }
  const found: Minimum[] = [];
  const value = (x: number, y: number) => jet(x, y)[jetValue] as number;
  for (const start of starts) {
    const bottom = descend(start, [dx, dy], value);
    const end = bottom && polish(bottom, [dx, dy], jet);
    if (end === undefined || !isInside(grid, end, dx, dy) || !isIsolated(end, [dx, dy], jet)) continue;
    const isNear = (other: Minimum) => Math.abs(other.x - end.x) < dx / 2 && Math.abs(other.y - end.y) < dy / 2;
    if (!found.some(isNear)) found.push(end);
  }
  return found.sort((a, b) => a.value - b.value).slice(0, most);
}

/** Not lower than any node beside it, and lower than one of them. */
function isLowest({ columns, rows, values }: Grid, column: number, row: number): boolean {
  const own = values[row * columns + column] as number;
  let isLower = false;
  for (let r = Math.max(row - 1, 0); r <= Math.min(row + 1, rows - 1); r++) {
    for (let c = Math.max(column - 1, 0); c <= Math.min(column + 1, columns - 1); c++) {
      const other = values[r * columns + c] as number;
      if (other < own) return false;
      isLower ||= other > own;
    }
  }
  return isLower;
}

/** Off the border, except by what the arithmetic leaves. */
function isInside({ domain }: Grid, { x, y }: Point, dx: number, dy: number): boolean {
  const margin = 1e-6;
  const { left, right, bottom, top } = domain;
  const inner = {
    left: left + margin * dx,
    right: right - margin * dx,
    bottom: bottom + margin * dy,
    top: top - margin * dy,
  };
  return contains(inner, { x, y });
}

/**
 * Steps along the axes and diagonals that halve when none leads down: needs no derivative, which a kink has none of. Nodes in
 * a valley narrower than a cell are lower than their neighbours without a minimum: from there it leads away.
 *
 * @returns undefined if it left the node's surroundings.
 */
function descend(
  start: Point,
  [dx, dy]: readonly [number, number],
  f: (x: number, y: number) => number,
): Minimum | undefined {
  let best: Minimum = { ...start, value: f(start.x, start.y) };
  for (let scale = 0.5; scale > 1e-9; ) {
    let next = best;
    for (const [a, b] of directions) {
      const [x, y] = [best.x + a * dx * scale, best.y + b * dy * scale];
      const value = f(x, y);
      if (value < next.value) next = { x, y, value };
    }
    if (next === best) scale /= 2;
    best = next;
    if (Math.abs(best.x - start.x) > 2 * dx || Math.abs(best.y - start.y) > 2 * dy) return undefined;
  }
  return best;
}

const directions = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
  [1, 1],
  [-1, 1],
  [-1, -1],
  [1, -1],
] as const;

/** How ill the Hessian may be conditioned, and how low the lowest neighbour, before a minimum counts as part of a line of them. */
const [leastDeterminant, leastRise] = [1e-9, 1e-2];

/**
 * Whether the ground rises in every direction: by its curvature, or, where that has no say (at a kink, or where the ground
 * is flat to the second order), by values around it.
 */
function isIsolated(
  { x, y, value }: Minimum,
  [dx, dy]: readonly [number, number],
  jet: (x: number, y: number) => Float64Array,
): boolean {
  const now = jet(x, y);
  const [gx, gy] = [now[jetX] as number, now[jetY] as number];
  const [xx, xy, yy] = [now[jetXX] as number, now[jetXY] as number, now[jetYY] as number];
  const [trace, determinant] = [xx + yy, xx * yy - xy * xy];
  const isFlat = Math.hypot(gx * dx, gy * dy) <= 1e-6 * (xx * dx * dx + yy * dy * dy);
  if (trace > 0 && determinant > leastDeterminant * trace * trace && isFlat) return true;
  return [0.25, 0.02].every((radius) => {
    const around = Array.from({ length: 64 }, (_, index) => {
      const angle = (index * Math.PI) / 32;
      return (jet(x + radius * dx * Math.cos(angle), y + radius * dy * Math.sin(angle))[jetValue] as number) - value;
    });
    return Math.min(...around) > leastRise * Math.max(...around);
  });
}

/** Newton steps as long as they stay near and do not lead up. */
function polish(
  start: Minimum,
  [dx, dy]: readonly [number, number],
  jet: (x: number, y: number) => Float64Array,
): Minimum {
  let best = start;
  for (let step = 0; step < 8; step++) {
    const now = jet(best.x, best.y);
    const [gx, gy] = [now[jetX] as number, now[jetY] as number];
    const [xx, xy, yy] = [now[jetXX] as number, now[jetXY] as number, now[jetYY] as number];
    const determinant = xx * yy - xy * xy;
    if (!(determinant > 0 && xx > 0)) return best;
    const [sx, sy] = [(xy * gy - yy * gx) / determinant, (xy * gx - xx * gy) / determinant];
    if (Math.abs(sx) > dx || Math.abs(sy) > dy) return best;
    const value = jet(best.x + sx, best.y + sy)[jetValue] as number;
    // Near a minimum the value is flat: rounding alone may lift it.
    if (!(value <= best.value + 4 * Number.EPSILON * Math.abs(best.value))) return best;
    best = { x: best.x + sx, y: best.y + sy, value };
    if (Math.abs(sx) < 1e-12 * dx && Math.abs(sy) < 1e-12 * dy) return best;
  }
  return best;
}
