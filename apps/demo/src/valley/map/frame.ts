import { clampTo, type Domain, heightOf, type Point, widthOf } from "../terrain/domain";

/** The map's square on the page, in CSS pixels, and what of the plane it shows. */
export interface Frame {
  readonly domain: Domain;
  readonly left: number;
  readonly top: number;
  readonly size: number;
  /** Of the picture around it. */
  readonly width: number;
  readonly height: number;
}

const margin = { left: 44, right: 10, top: 8, bottom: 34 };

export function frameOf(domain: Domain, width: number): Frame {
  const size = Math.max(width - margin.left - margin.right, 50);
  return { domain, left: margin.left, top: margin.top, size, width, height: size + margin.top + margin.bottom };
}

export const toX = ({ domain, left, size }: Frame, x: number): number =>
  left + ((x - domain.left) / widthOf(domain)) * size;

export const toY = ({ domain, top, size }: Frame, y: number): number =>
  top + ((domain.top - y) / heightOf(domain)) * size;

/** The point of the plane at a place of the picture; the nearest one, for a place in the margin. */
export function pointOf({ domain, left, top, size }: Frame, x: number, y: number): Point {
  return clampTo(domain, {
    x: domain.left + ((x - left) / size) * widthOf(domain),
    y: domain.top - ((y - top) / size) * heightOf(domain),
  });
}

/** The part of the domain around a point that keeps its place, `factor` times as wide and high. */
export function zoomedAt({ left, right, bottom, top }: Domain, { x, y }: Point, factor: number): Domain {
  return {
    left: x + (left - x) * factor,
    right: x + (right - x) * factor,
    bottom: y + (bottom - y) * factor,
    top: y + (top - y) * factor,
  };
}
