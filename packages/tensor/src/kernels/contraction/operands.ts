/**
 * What every kernel of a contraction shares: its extents, where the elements of its operands are, along which of their
 * coordinates four neighbours lie together in memory, and the epilogue.
 */
import { Emitter, laneIndex, type Value } from "../../compiler/emit";
import { type Cluster, memberCoordinates } from "../../compiler/fuse";
import { computeType } from "../../dtype";
import { type DotParams, freeAxes } from "../../primitives/dot";
import { sameShape, sizeOf } from "../../shape";
import type { Tensor } from "../../tensor";
import {
  type Atom,
  addIndex,
  constantIndex,
  delinearize,
  dependsOn,
  type Index,
  linearFactor,
  scaleIndex,
  variableIndex,
} from "../../view";
import type { WorkgroupArray } from "../kernel";
import type { ContractionProblem, OperandVectors } from "./variants";

/** An operand of a contraction: the left one, whose free coordinates are rows of the result, or the right one. */
export type Side = "a" | "b";

/** A contraction as a batch of matrix products: `[batch, rows, contracted]` times `[batch, contracted, columns]`. */
export interface Contraction {
  readonly dot: Tensor;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly params: DotParams;
  readonly batchShape: readonly number[];
  readonly rowShape: readonly number[];
  readonly columnShape: readonly number[];
  /** Extents of the contracted coordinates, in the order of the parameters. */
  readonly contracted: readonly number[];
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  /** Terms of a sum. */
  readonly depth: number;
  /**
   * Both operands are one tensor, taken alike: result (i, j) is result (j, i), and kernels compute it once. Variants write
   * every result exactly once, be it as itself or as a mirror image.
   */
  readonly isSymmetric: boolean;
}

/** Results of at most so many rows and columns are computed all: their kernels wait for memory. */
const smallestMirrored = 16;

export function contractionOf(dot: Tensor): Contraction {
  const [a, b] = dot.inputs as [Tensor, Tensor];
  const params = dot.params as DotParams;
  const extentsOf = (x: Tensor, axes: readonly number[]) => axes.map((axis) => x.shape[axis] as number);
  const batchShape = extentsOf(a, params.batch[0]);
  const rowShape = extentsOf(a, freeAxes(a.rank, params.batch[0], params.contract[0]));
  const columnShape = extentsOf(b, freeAxes(b.rank, params.batch[1], params.contract[1]));
  const contracted = extentsOf(a, params.contract[0]);
  const rows = sizeOf(rowShape);
  return {
    dot,
    a,
    b,
    params,
    batchShape,
    rowShape,
    columnShape,
    contracted,
    batch: sizeOf(batchShape),
    rows,
    columns: sizeOf(columnShape),
    depth: sizeOf(contracted),
    isSymmetric: rows > smallestMirrored && isProductWithItself(dot),
  };
}

/** Is an operand multiplied with itself, over the same axes? The results are bitwise symmetric then. */
export function isProductWithItself(dot: Tensor): boolean {
  const [a, b] = dot.inputs as [Tensor, Tensor];
  const { batch, contract } = dot.params as DotParams;
  return a === b && sameShape(batch[0], batch[1]) && sameShape(contract[0], contract[1]);
}

/** A kernel's statements and shape, in one of the variants. */
export interface Drawing {
  readonly workgroupSize: number;
  readonly workgroups: number;
  /** Results are stored four neighbours of a row at a time. */
  readonly storesVectors: boolean;
  /** Arrays in workgroup memory. */
  readonly arrays?: readonly WorkgroupArray[];
  readonly draw: (emitter: Emitter, cluster: Cluster) => void;
}

/** Coordinates in an operand from the position in the batch, among its free elements, and the contracted ones. */
export function operandCoordinates(
  contraction: Contraction,
  side: Side,
  batch: Index,
  free: Index,
  contracted: readonly Index[],
): Index[] {
  const own = side === "a" ? 0 : 1;
  const { params } = contraction;
  const [batchAxes, contractAxes] = [params.batch[own], params.contract[own]];
  const batchAt = delinearize(batch, contraction.batchShape);
  const freeAt = delinearize(free, side === "a" ? contraction.rowShape : contraction.columnShape);
  let nextFree = 0;
  return contraction[side].shape.map((_, axis) => {
    const inBatch = batchAxes.indexOf(axis);
    if (inBatch >= 0) return batchAt[inBatch] as Index;
    const inContract = contractAxes.indexOf(axis);
    return (inContract >= 0 ? contracted[inContract] : freeAt[nextFree++]) as Index;
  });
}

/** Orders of the contracted coordinates, outermost first: as they are, and with each of them moved innermost. */
export function contractedOrders({ contracted }: Contraction): number[][] {
  const all = [...contracted.keys()];
  if (all.length === 0) return [[]];
  return all.map((innermost) => [...all.filter((axis) => axis !== innermost), innermost]);
}

/** Contracted coordinates from their row-major position in the given order. */
export function contractedAt({ contracted }: Contraction, order: readonly number[], position: Index): Index[] {
  const at = delinearize(
    position,
    order.map((axis) => contracted[axis] as number),
  );
  const coordinates = new Array<Index>(contracted.length);
  for (const [place, axis] of order.entries()) coordinates[axis] = at[place] as Index;
  return coordinates;
}

/** What a trial of loading an operand shows. */
interface Probe {
  /** Four neighbours lie together in every load. */
  readonly isVector: boolean;
  /** A position in memory is found by divisions, a guard, or other data: more than strides. */
  readonly isGathered: boolean;
}

function probe(contraction: Contraction, side: Side, isStored: (node: Tensor) => boolean, at: readonly Index[]): Probe {
  let isGathered = false;
  const emitter = new Emitter({
    isStored,
    bufferName: () => "operand",
    isVector: () => false,
    onLoad: (position, isGuarded) => {
      isGathered ||= isGuarded || position.terms.some(({ atom }) => isDivided(atom));
    },
  });
  emitter.value(contraction[side], at);
  return { isVector: emitter.splits === 0 && emitter.vectorLoads.size > 0, isGathered };
}

/** Is a row, column or contracted coordinate divided? What only the batch needs is the same for a whole workgroup. */
const isDivided = (atom: Atom): boolean =>
  atom.kind === "variable" ? atom.key.startsWith("taken") : ["free", "inner"].some((name) => dependsOn(atom.of, name));

const quads = (name: string, extent: number): Index =>
  addIndex(scaleIndex(variableIndex(name, 0, Math.max(0, Math.ceil(extent / 4) - 1)), 4), laneIndex);

/** Vector loads of an operand whose contracted coordinates are run through in a given order, as one flat coordinate. */
export function operandVectors(
  contraction: Contraction,
  side: Side,
  order: readonly number[],
  isStored: (node: Tensor) => boolean,
): OperandVectors & { readonly gathers: boolean } {
  const batch = variableIndex("batch", 0, contraction.batch - 1);
  const freeExtent = side === "a" ? contraction.rows : contraction.columns;
  const free = variableIndex("free", 0, freeExtent - 1);
  const inner = contractedAt(contraction, order, variableIndex("inner", 0, contraction.depth - 1));
  const at = (freeAt: Index, innerAt: readonly Index[]) =>
    probe(contraction, side, isStored, operandCoordinates(contraction, side, batch, freeAt, innerAt));
  const innerQuads = () => contractedAt(contraction, order, quads("inner", contraction.depth));
  return {
    contracted: contraction.depth % 4 === 0 && at(free, innerQuads()).isVector,
    free: freeExtent % 4 === 0 && at(quads("free", freeExtent), inner).isVector,
    gathers: at(free, inner).isGathered,
  };
}

/** The order of the contracted coordinates in which most operands are loaded as vectors, and those loads. */
export function bestOrder(
  contraction: Contraction,
  isStored: (node: Tensor) => boolean,
): {
  readonly order: readonly number[];
  readonly a: OperandVectors & { readonly gathers: boolean };
  readonly b: OperandVectors & { readonly gathers: boolean };
} {
  const scored = contractedOrders(contraction).map((order) => {
    const a = operandVectors(contraction, "a", order, isStored);
    const b = operandVectors(contraction, "b", order, isStored);
    const isVector = ({ contracted, free }: OperandVectors) => Number(contracted || free);
    const innermost = contraction.contracted[order.at(-1) ?? -1] ?? 1;
    return { order, a, b, score: 4 * (isVector(a) + isVector(b)) + (innermost > 1 ? 1 : 0) };
  });
  const best = Math.max(...scored.map(({ score }) => score));
  return scored.findLast(({ score }) => score === best) as (typeof scored)[0];
}

/** Do neighbours along the innermost of these coordinates lie together in memory, aligned or not? */
export function isContiguousAlong(
  contraction: Contraction,
  side: Side,
  along: "contracted" | "free",
  order: readonly number[],
  isStored: (node: Tensor) => boolean,
): boolean {
  const shape = side === "a" ? contraction.rowShape : contraction.columnShape;
  const own = along === "free" ? shape : order.map((axis) => contraction.contracted[axis] as number);
  const innermost = own.findLastIndex((extent) => extent > 1);
  if (innermost < 0) return false;
  // The innermost coordinate alone, as a variable; all others stand at 0.
  const step = variableIndex("step", 0, (own[innermost] as number) - 1);
  const stride = own.slice(innermost + 1).reduce((product, extent) => product * extent, 1);
  const zero = constantIndex(0);
  const position = scaleIndex(step, stride);
  const at = operandCoordinates(
    contraction,
    side,
    zero,
    along === "free" ? position : zero,
    contractedAt(contraction, order, along === "contracted" ? position : zero),
  );
  let isTogether = true;
  const onLoad = (index: Index) => {
    isTogether &&= linearFactor(index, "step") === 1;
  };
  new Emitter({ isStored, bufferName: () => "operand", isVector: () => false, onLoad }).value(contraction[side], at);
  return isTogether;
}

/** The shape class of a contraction. */
export function problemOf(
  contraction: Contraction,
  isStored: (node: Tensor) => boolean,
  epilogue: boolean,
): ContractionProblem {
  const { a, b } = bestOrder(contraction, isStored);
  const vectors = ({ contracted, free }: OperandVectors): OperandVectors => ({ contracted, free });
  return {
    batch: contraction.batch,
    rows: contraction.rows,
    columns: contraction.columns,
    depth: contraction.depth,
    dtype: contraction.dot.dtype,
    a: vectors(a),
    b: vectors(b),
    gathers: a.gathers || b.gathers,
    epilogue,
    isSymmetric: contraction.isSymmetric,
  };
}

/** Computes and stores one result, or four neighbours in a row, with every other member of the cluster. */
export function drawElement(
  emitter: Emitter,
  cluster: Cluster,
  contraction: Contraction,
  at: { readonly batch: Index; readonly row: Index; readonly column: Index },
  sum: { readonly code: string; readonly width: 1 | 4 },
  condition?: string,
): void {
  const { dot } = contraction;
  const row = addIndex(scaleIndex(at.batch, contraction.rows), at.row);
  const flat = addIndex(scaleIndex(row, contraction.columns), at.column);
  const exact = [
    ...delinearize(at.batch, contraction.batchShape),
    ...delinearize(at.row, contraction.rowShape),
    ...delinearize(at.column, contraction.columnShape),
  ];
  const isStored = new Set(cluster.stored);
  const results: { readonly node: Tensor; readonly value: Value }[] = [];
  for (const member of cluster.members) {
    const { node } = member;
    const where = sameShape(node.shape, dot.shape) ? exact : memberCoordinates(member, flat, []);
    const value: Value =
      node === dot ? { ...sum, dtype: dot.dtype, depth: emitter.depth } : emitter.compute(node, where);
    emitter.setRegister(node, value);
    if (isStored.has(node)) results.push({ node, value });
  }
  // Results are written last: what they replace in place is read before.
  for (const { node, value } of results) emitter.store(node, flat, value, condition);
}

/**
 * Draws a block of 4 x 4 results of a symmetric product, where it is on or above the diagonal, and its mirror image where it
 * is above. The number of rows is a multiple of four.
 *
 * @param at quads of rows and of columns.
 * @param sum the code of four neighbours in a row of the block, by the row's number.
 * @param isLooped may that number be an expression? Then the rows are a loop.
 */
export function drawBlock(
  emitter: Emitter,
  cluster: Cluster,
  contraction: Contraction,
  at: { readonly batch: Index; readonly rowQuad: Index; readonly columnQuad: Index },
  sum: (row: string) => string,
  isLooped: boolean,
): void {
  const { batch } = at;
  const quads = contraction.rows / 4;
  const [row, column] = [emitter.fresh("at"), emitter.fresh("at")];
  emitter.line(`let ${row} = ${emitter.index(at.rowQuad).code};`);
  emitter.line(`let ${column} = ${emitter.index(at.columnQuad).code};`);
  const type = computeType[contraction.dot.dtype];
  const draw = (condition: string, [above, beside]: readonly [string, string], code: (own: string) => string): void =>
    emitter.block(`if (${condition}) {`, () => {
      const names = [above, beside].map((own) => {
        const name = emitter.fresh("quad");
        emitter.line(`let ${name} = ${own};`);
        emitter.declare(name);
        return scaleIndex(variableIndex(name, 0, quads - 1), 4);
      });
      const [first, neighbours] = names as [Index, Index];
      const each = (own: Index): void =>
        drawElement(
          emitter,
          cluster,
          contraction,
          { batch, row: addIndex(first, own), column: addIndex(neighbours, laneIndex) },
          { code: code(emitter.index(own).code), width: 4 },
        );
      if (isLooped) emitter.loop(emitter.fresh("row"), 4, each);
      else for (const own of [0, 1, 2, 3]) each(constantIndex(own));
    });
  draw(`${row} <= ${column}`, [row, column], sum);
  draw(
    `${row} < ${column}`,
    [column, row],
    (own) => `vec4<${type}>(${[0, 1, 2, 3].map((term) => `${sum(String(term))}[${own}]`).join(", ")})`,
  );
}

/** Draws one result of a symmetric product, where it is on or above the diagonal, and its mirror image where it is above. */
export function drawPair(
  emitter: Emitter,
  cluster: Cluster,
  contraction: Contraction,
  { batch, row, column }: { readonly batch: Index; readonly row: Index; readonly column: Index },
  code: string,
): void {
  const [own, other] = [emitter.index(row).code, emitter.index(column).code];
  const draw = (above: Index, beside: Index): void =>
    drawElement(emitter, cluster, contraction, { batch, row: above, column: beside }, { code, width: 1 });
  emitter.block(`if (${own} <= ${other}) {`, () => {
    draw(row, column);
    emitter.block(`if (${own} < ${other}) {`, () => draw(column, row));
  });
}

/** Draws `body` where a position is inside, under a condition unless it always is. */
export function within(emitter: Emitter, exact: Index, count: number, body: (index: Index) => void): void {
  if (exact.high < count) {
    body(exact);
    return;
  }
  const at = emitter.fresh("at");
  emitter.line(`let ${at} = ${emitter.index(exact).code};`);
  emitter.block(`if (${at} < ${count}) {`, () => {
    const name = emitter.fresh("at");
    emitter.line(`let ${name} = ${at};`);
    emitter.declare(name);
    body(variableIndex(name, 0, count - 1));
  });
}
