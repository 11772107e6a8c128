import type { Domain } from "./domain";

/** Values at the nodes of a grid that covers a domain, its borders included: row by row from the bottom. */
export interface Grid {
  readonly domain: Domain;
  /** Nodes along x and along y, at least 2. */
  readonly columns: number;
  readonly rows: number;
  readonly values: Float64Array;
}

export const columnX = ({ domain, columns }: Omit<Grid, "values">, column: number): number =>
  domain.left + ((domain.right - domain.left) * column) / (columns - 1);

export const rowY = ({ domain, rows }: Omit<Grid, "values">, row: number): number =>
  domain.bottom + ((domain.top - domain.bottom) * row) / (rows - 1);

/** A function at the nodes. */
export function sampleGrid(domain: Domain, nodes: number, f: (x: number, y: number) => number): Grid {
  const grid: Grid = { domain, columns: nodes, rows: nodes, values: new Float64Array(nodes * nodes) };
  for (let row = 0; row < nodes; row++) {
    const y = rowY(grid, row);
    for (let column = 0; column < nodes; column++) grid.values[row * nodes + column] = f(columnX(grid, column), y);
  }
  return grid;
}

/** The finite values in ascending order. */
export function sortedFinite({ values }: Grid): Float64Array {
  return values.filter(Number.isFinite).sort();
}
