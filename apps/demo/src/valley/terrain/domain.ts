/** A part of the plane: what the map shows. */
export interface Domain {
  readonly left: number;
  readonly right: number;
  readonly bottom: number;
  readonly top: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export const widthOf = ({ left, right }: Domain): number => right - left;

export const heightOf = ({ bottom, top }: Domain): number => top - bottom;

export const diagonalOf = (domain: Domain): number => Math.hypot(widthOf(domain), heightOf(domain));

export function contains({ left, right, bottom, top }: Domain, { x, y }: Point): boolean {
  return x >= left && x <= right && y >= bottom && y <= top;
}

/** The point of the domain that is nearest. */
export function clampTo({ left, right, bottom, top }: Domain, { x, y }: Point): Point {
  return { x: Math.min(Math.max(x, left), right), y: Math.min(Math.max(y, bottom), top) };
}
