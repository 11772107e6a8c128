import { pointAt } from "../paths/summary";
import { type Domain, heightOf, type Point, widthOf } from "../terrain/domain";
import { type HeightScale, heightOfValue } from "../terrain/height-scale";
import type { Mesh } from "../terrain/terrain";

/**
 * The world of the surface: the map is the square from -1 to 1 along x and y, heights from 0 to 1 are from 0 to
 * {@link relief} along z, and the block that they are cut from ends below at {@link base}.
 */
export const relief = 0.85;
export const base = -0.12;

/** Floats per vertex: position, normal, height (a share of the relief, below 0 in the base). */
export const vertexFloats = 7;

export interface Block {
  readonly vertices: Float32Array<ArrayBuffer>;
  readonly indices: Uint32Array<ArrayBuffer>;
}

/** The ground with its four walls. Where the formula has no value there is a hole. */
export function makeBlock({ nodes, values }: Mesh): Block {
  const vertices: number[] = [];
  const indices: number[] = [];
  const heightAt = (column: number, row: number): number => values[(row * nodes + column) * 3] as number;
  const place = (index: number): number => (2 * index) / (nodes - 1) - 1;
  for (let row = 0; row < nodes; row++) {
    for (let column = 0; column < nodes; column++) {
      const at = (row * nodes + column) * 3;
      const height = values[at] as number;
      const normal = normalOf(values[at + 1] as number, values[at + 2] as number);
      vertices.push(place(column), place(row), finite(height) * relief, ...normal, finite(height));
    }
  }
  for (let row = 0; row + 1 < nodes; row++) {
    for (let column = 0; column + 1 < nodes; column++) {
      const corner = row * nodes + column;
      const corners = [corner, corner + 1, corner + nodes, corner + nodes + 1];
      if (corners.some((index) => Number.isNaN(values[index * 3]))) continue;
      const [a, b, c, d] = corners as [number, number, number, number];
      indices.push(a, b, d, a, d, c);
    }
  }
  for (const wall of wallsOf(nodes)) addWall(vertices, indices, wall, heightAt, place);
  return { vertices: Float32Array.from(vertices), indices: Uint32Array.from(indices) };
}

const finite = (value: number): number => (Number.isFinite(value) ? value : 0);

/** The normal of the ground, from its slopes along the sides of the unit square. */
function normalOf(slopeX: number, slopeY: number): [number, number, number] {
  // The square is 2 wide in the world.
  const [x, y] = [(-finite(slopeX) * relief) / 2, (-finite(slopeY) * relief) / 2];
  const length = Math.hypot(x, y, 1);
  return [x / length, y / length, 1 / length];
}

interface Wall {
  readonly normal: readonly [number, number, number];
  readonly nodes: readonly (readonly [column: number, row: number])[];
}

function wallsOf(nodes: number): readonly Wall[] {
  const along = Array.from({ length: nodes }, (_, index) => index);
  const last = nodes - 1;
  return [
    { normal: [0, -1, 0], nodes: along.map((index) => [index, 0]) },
    { normal: [1, 0, 0], nodes: along.map((index) => [last, index]) },
    { normal: [0, 1, 0], nodes: along.map((index) => [last - index, last]) },
    { normal: [-1, 0, 0], nodes: along.map((index) => [0, last - index]) },
  ];
}

function addWall(
  vertices: number[],
  indices: number[],
  { normal, nodes }: Wall,
  heightAt: (column: number, row: number) => number,
  place: (index: number) => number,
): void {
  const first = vertices.length / vertexFloats;
  for (const [column, row] of nodes) {
    const height = finite(heightAt(column, row));
    vertices.push(place(column), place(row), base, ...normal, base / relief);
    vertices.push(place(column), place(row), height * relief, ...normal, height);
  }
  for (let index = 0; index + 1 < nodes.length; index++) {
    const low = first + 2 * index;
    indices.push(low, low + 2, low + 3, low, low + 3, low + 1);
  }
}

/** What puts points of the plane on the ground. */
export interface Site {
  readonly domain: Domain;
  readonly scale: HeightScale;
  readonly f: (x: number, y: number) => number;
}

/** A point of the plane on the ground of the world. */
export function onGround({ domain, scale, f }: Site, { x, y }: Point): readonly [number, number, number] {
  return [
    (2 * (x - domain.left)) / widthOf(domain) - 1,
    (2 * (y - domain.bottom)) / heightOf(domain) - 1,
    finite(heightOfValue(scale, f(x, y))) * relief,
  ];
}

/** Floats per segment of a line: both ends, each x, y, z and time. */
export const segmentFloats = 8;

/** A line is cut into pieces of about this length, to follow the ground. */
const pieceLength = 0.03;
const mostPieces = 48;

/** A line through points of the plane, as segments on the ground; what is outside of the map is left out. Times count points. */
export function segmentsOf(points: readonly Point[], site: Site): Float32Array<ArrayBuffer> {
  const segments: number[] = [];
  for (const [time, from] of points.entries()) {
    const to = points[time + 1];
    const part = to && insidePart(from, to, site.domain);
    if (to === undefined || part === undefined) continue;
    const at = (share: number): Point => ({ x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share });
    const [a, b] = [onGround(site, at(part[0])), onGround(site, at(part[1]))];
    const pieces = Math.min(Math.max(Math.ceil(Math.hypot(b[0] - a[0], b[1] - a[1]) / pieceLength), 1), mostPieces);
    let before: readonly number[] = [...a, time + part[0]];
    for (let piece = 1; piece <= pieces; piece++) {
      const share = part[0] + ((part[1] - part[0]) * piece) / pieces;
      const next = [...onGround(site, at(share)), time + share];
      segments.push(...before, ...next);
      before = next;
    }
  }
  return Float32Array.from(segments);
}

/** The points of a path up to a step. */
export function pathPoints(points: Float32Array, last: number): readonly Point[] {
  return Array.from({ length: last + 1 }, (_, step) => pointAt(points, step));
}

/** The shares of a segment between which it is inside of the domain. @see Liang and Barsky, 1984 */
export function insidePart(from: Point, to: Point, domain: Domain): readonly [number, number] | undefined {
  let [start, end] = [0, 1];
  const sides = [
    [from.x - to.x, from.x - domain.left],
    [to.x - from.x, domain.right - from.x],
    [from.y - to.y, from.y - domain.bottom],
    [to.y - from.y, domain.top - from.y],
  ] as const;
  for (const [outward, room] of sides) {
    if (outward === 0 && room < 0) return undefined;
    if (outward < 0) start = Math.max(start, room / outward);
    if (outward > 0) end = Math.min(end, room / outward);
  }
  // Written so that coordinates that are no numbers are outside.
  return start <= end ? [start, end] : undefined;
}
