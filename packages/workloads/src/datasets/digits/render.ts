import type { Point, Stroke } from "./glyphs";

/** How a stroke is put on the canvas. */
export interface Pen {
  /** Half the width of the stroke in pixels. */
  readonly radius: number;
  /** Brightness in the middle of the stroke, 0 to 1. */
  readonly ink: number;
}

/** A square grey picture of numbers 0 to 1, in row-major order. */
export interface Canvas {
  readonly size: number;
  readonly pixels: Float64Array;
}

/** Number of straight pieces that a curve gets between two of its points. */
const piecesPerSpan = 4;

/** A stroke as a chain of points joined by straight pieces. */
export function flatten({ kind, points }: Stroke): readonly Point[] {
  if (kind === "lines") return points;
  const chain: Point[] = [];
  const last = points.length - 1;
  const at = (index: number): Point => points[Math.min(Math.max(index, 0), last)] as Point;
  for (let span = 0; span < last; span++) {
    for (let piece = 0; piece < piecesPerSpan; piece++) {
      const t = piece / piecesPerSpan;
      const spline = (axis: 0 | 1): number =>
        catmullRom(at(span - 1)[axis], at(span)[axis], at(span + 1)[axis], at(span + 2)[axis], t);
      chain.push([spline(0), spline(1)]);
    }
  }
  chain.push(at(last));
  return chain;
}

/** The uniform Catmull-Rom spline between `b` (t = 0) and `c` (t = 1), with neighbours `a` and `d`. */
function catmullRom(a: number, b: number, c: number, d: number, t: number): number {
  const cubic = 3 * b - a - 3 * c + d;
  const square = 2 * a - 5 * b + 4 * c - d;
  return b + 0.5 * t * (c - a + t * (square + t * cubic));
}

/**
 * Draws a chain of points in pixel coordinates. Each pixel takes the brightness of the nearest place of the chain, with
 * one pixel of linear fall-off at the edge of the stroke; a pixel that is brighter already keeps its value.
 */
export function drawChain({ size, pixels }: Canvas, chain: readonly Point[], { radius, ink }: Pen): void {
  const reach = radius + 0.5;
  for (let index = 1; index < chain.length; index++) {
    const [ax, ay] = chain[index - 1] as Point;
    const [bx, by] = chain[index] as Point;
    const [dx, dy] = [bx - ax, by - ay];
    const lengthSquared = dx * dx + dy * dy;
    // Pixel (row, column) has its middle at (column + 0.5, row + 0.5).
    const firstColumn = Math.max(0, Math.floor(Math.min(ax, bx) - reach - 0.5));
    const lastColumn = Math.min(size - 1, Math.ceil(Math.max(ax, bx) + reach - 0.5));
    const firstRow = Math.max(0, Math.floor(Math.min(ay, by) - reach - 0.5));
    const lastRow = Math.min(size - 1, Math.ceil(Math.max(ay, by) + reach - 0.5));
    for (let row = firstRow; row <= lastRow; row++) {
      for (let column = firstColumn; column <= lastColumn; column++) {
        const [px, py] = [column + 0.5 - ax, row + 0.5 - ay];
        const along = lengthSquared === 0 ? 0 : Math.min(1, Math.max(0, (px * dx + py * dy) / lengthSquared));
        const [ex, ey] = [px - along * dx, py - along * dy];
        const cover = Math.min(1, reach - Math.sqrt(ex * ex + ey * ey));
        const position = row * size + column;
        if (cover > 0) pixels[position] = Math.max(pixels[position] as number, ink * cover);
      }
    }
  }
}
