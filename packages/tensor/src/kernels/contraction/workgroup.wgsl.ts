/**
 * Contraction with tiles of both operands staged in workgroup memory.
 *
 * A workgroup computes `groupRows · rows` times `groupColumns · columns` results; one invocation `rows` times `columns`
 * of them in registers, as quads of columns. It walks over the contracted coordinates, flattened to one, in tiles of
 * `depth`: all invocations load a part of both tiles (four neighbours at once where the operand's view has them), a
 * barrier, and everybody multiplies. With `prefetch`, the loads of the next tile are under way meanwhile.
 *
 * Per step of the contraction an invocation reads `rows + columns` elements of workgroup memory for `rows · columns`
 * multiply-adds: 2 for 4 x 4, 2.7 for 8 x 4, 4 for 8 x 8. From memory a workgroup reads 1 / columns + 1 / rows (of the
 * whole tile) elements per multiply-add. Registers: `rows · columns` sums, 4 (rows + columns) staged operands at most.
 *
 * Layout. An operand stays staged along the coordinate in which it was loaded:
 * - quads along its free coordinate (a stored column by column, b row by row): `[depth][free / 4]`. Lanes of a subgroup
 *   differ in columns: of b they read consecutive quads, of a one and the same (a broadcast).
 * - quads along the contraction: `[free][depth / 4]`. The four columns of lane i would be four rows of this array apart
 *   from those of lane i + 1; so column n lies in row `(n mod 4) · columns / 4 + n div 4`, and rows have an odd number of
 *   quads: eight lanes read 128 bytes from all 32 banks.
 * - no quads in memory: put together along the free coordinate from four scalars; if the operand lies together along the
 *   contraction, neighbouring invocations take neighbours there and rows are padded to an odd number of quads.
 *
 * Tails: positions beyond the end are clamped, and terms beyond the contraction's end are replaced by zero in both
 * operands. No barrier stands in a branch. Index work of a view is done once per invocation for what depends on the free
 * coordinate, and once per tile for what depends on the contracted one.
 *
 * Halves are staged as halves where the operand is a mere view, and summed in f32.
 */
import { type Emitter, laneIndex, splat, type Value } from "../../compiler/emit";
import type { Cluster } from "../../compiler/fuse";
import { computeType } from "../../dtype";
import { loweringOf } from "../../primitives/definition";
import type { Tensor } from "../../tensor";
import { addIndex, constantIndex, delinearize, type Index, offsetIndex, scaleIndex, variableIndex } from "../../view";
import type { KernelTensors } from "../kernel";
import {
  bestOrder,
  type Contraction,
  contractedAt,
  type Drawing,
  drawBlock,
  drawElement,
  drawPair,
  isContiguousAlong,
  operandCoordinates,
  type Side,
  within,
} from "./operands";
import { type StagedLayout, stagedLayout, tileOf, type WorkgroupVariant } from "./variants";

/** How one operand's tile is loaded and where it lies in workgroup memory. */
interface Staging {
  readonly side: Side;
  readonly layout: StagedLayout;
  /** Elements along the free coordinate: of the tile, and of the whole operand. */
  readonly tile: number;
  readonly extent: number;
  /** Invocations next to each other load neighbours along this coordinate. */
  readonly neighbours: "contracted" | "free";
  /** Type of an element in workgroup memory. */
  readonly type: string;
}

interface Plan {
  readonly contraction: Contraction;
  readonly variant: WorkgroupVariant;
  readonly order: readonly number[];
  readonly invocations: number;
  /** Tiles along the contraction. */
  readonly steps: number;
  readonly a: Staging;
  readonly b: Staging;
}

export function workgroupDrawing(
  contraction: Contraction,
  { isStored }: KernelTensors,
  variant: WorkgroupVariant,
): Drawing {
  const { order, a, b } = bestOrder(contraction, isStored);
  const tile = tileOf(variant);
  const stage = (side: Side, own: number, extent: number, vectors: typeof a): Staging => {
    const layout = stagedLayout(side, vectors, own, variant.depth);
    const isWhole = vectors.contracted || vectors.free;
    const along = (way: "contracted" | "free") => isContiguousAlong(contraction, side, way, order, isStored);
    const scattered = along("contracted") && !along("free") ? "contracted" : "free";
    return {
      side,
      layout,
      tile: own,
      extent,
      neighbours: isWhole ? layout.quads : scattered,
      type: stagedType(contraction[side], isStored),
    };
  };
  const plan: Plan = {
    contraction,
    variant,
    order,
    invocations: variant.groupRows * variant.groupColumns,
    steps: Math.ceil(contraction.depth / variant.depth),
    a: stage("a", tile.rows, contraction.rows, a),
    b: stage("b", tile.columns, contraction.columns, b),
  };
  const { tilesPerRow, tilesPerColumn } = gridOf(plan);
  return {
    workgroupSize: plan.invocations,
    workgroups: tilesPerRow * tilesPerColumn * contraction.batch,
    storesVectors: contraction.columns % 4 === 0,
    arrays: [plan.a, plan.b].map(({ side, layout, type }) => ({
      name: `tile_${side}`,
      type: `vec4<${type}>`,
      length: layout.rows * layout.stride,
    })),
    draw: (emitter, cluster) => draw(emitter, cluster, plan),
  };
}

const gridOf = ({ contraction, variant }: Plan) => {
  const { rows, columns } = tileOf(variant);
  return {
    tilesPerRow: Math.ceil(contraction.columns / columns),
    tilesPerColumn: Math.ceil(contraction.rows / rows),
  };
};

/** Halves that an operand's view only moves are staged as they are; computed ones keep the precision of f32. */
function stagedType(operand: Tensor, isStored: (node: Tensor) => boolean): string {
  let node = operand;
  while (!isStored(node) && loweringOf(node, "movement") !== undefined) node = node.inputs[0] as Tensor;
  return isStored(node) && node.dtype === "f16" ? "f16" : computeType[operand.dtype];
}

function draw(emitter: Emitter, cluster: Cluster, plan: Plan): void {
  const { contraction, variant, steps } = plan;
  drawPlace(emitter, plan);
  const clamps = new Clamps(emitter);
  const loads = [plan.a, plan.b].flatMap((staging) => prepareLoads(emitter, plan, staging, clamps));
  const type = `vec4<${computeType[contraction.dot.dtype]}>`;
  for (let row = 0; row < variant.rows; row++) {
    for (let quad = 0; quad < variant.columns / 4; quad++) emitter.line(`var ${sumName(row, quad)} = ${type}(0);`);
  }
  const ahead = loads.map((_, index) => `ahead${index}`);
  const isAhead = variant.prefetch && steps > 1;
  if (isAhead) {
    for (const [index, load] of loads.entries()) {
      emitter.line(`var ${ahead[index]} = ${load.value(constantIndex(0))};`);
    }
  }
  emitter.loop("step", steps, (step) => {
    const values = isAhead ? ahead : loads.map((load) => load.value(step));
    // The tiles of the step before are still being read.
    if (steps > 1) emitter.line("workgroupBarrier();");
    for (const [index, load] of loads.entries()) emitter.line(`${load.place} = ${values[index]};`);
    emitter.line("workgroupBarrier();");
    if (isAhead) {
      emitter.block(`if (step < ${steps - 1}) {`, () => {
        emitter.line("let next = step + 1;");
        emitter.declare("next");
        const next = variableIndex("next", 0, steps - 1);
        for (const [index, load] of loads.entries()) emitter.line(`${ahead[index]} = ${load.value(next)};`);
      });
    }
    drawProducts(emitter, plan, type);
  });
  drawResults(emitter, cluster, plan);
}

const sumName = (row: number, quad: number): string => `sum${row}_${quad}`;

/** Which tile this workgroup computes, and which part of it this invocation. */
function drawPlace(emitter: Emitter, plan: Plan): void {
  const { contraction, variant } = plan;
  const { tilesPerRow, tilesPerColumn } = gridOf(plan);
  const tiles = tilesPerRow * tilesPerColumn;
  emitter.line("let tile = i32(number);");
  emitter.line(`if (tile >= ${tiles * contraction.batch}) { return; }`);
  emitter.line(`let batch = tile / ${tiles};`);
  if (variant.band > 1 && tilesPerColumn % variant.band === 0) {
    const band = variant.band * tilesPerRow;
    emitter.line(`let tile_row = tile % ${tiles} / ${band} * ${variant.band} + tile % ${variant.band};`);
    emitter.line(`let tile_column = tile % ${band} / ${variant.band};`);
  } else {
    emitter.line(`let tile_row = tile % ${tiles} / ${tilesPerRow};`);
    emitter.line(`let tile_column = tile % ${tilesPerRow};`);
  }
  if (contraction.isSymmetric) {
    const { rows, columns } = tileOf(variant);
    emitter.line(`if (tile_column * ${columns} + ${columns - 1} < tile_row * ${rows}) { return; }`);
  }
  emitter.line("let own = i32(local);");
  emitter.line(`let own_row = local / ${variant.groupColumns}u;`);
  emitter.line(`let own_column = local % ${variant.groupColumns}u;`);
}

const batchIndex = ({ contraction }: Plan): Index => variableIndex("batch", 0, contraction.batch - 1);
const tileIndex = (plan: Plan, side: Side): Index => {
  const { tilesPerRow, tilesPerColumn } = gridOf(plan);
  return side === "a"
    ? variableIndex("tile_row", 0, tilesPerColumn - 1)
    : variableIndex("tile_column", 0, tilesPerRow - 1);
};

/** One quad that every invocation loads in every step. */
interface Load {
  /** Where it lies in workgroup memory. */
  readonly place: string;
  /** The quad of a step, as staged. */
  readonly value: (step: Index) => string;
}

/** The loads of an operand's tile; what depends on the free coordinate alone is written here, before the loop. */
function prepareLoads(emitter: Emitter, plan: Plan, staging: Staging, clamps: Clamps): Load[] {
  const { side, layout, tile, neighbours } = staging;
  const { depth } = plan.variant;
  const isAlong = layout.quads === "contracted";
  const counts = { contracted: isAlong ? depth / 4 : depth, free: isAlong ? tile : tile / 4 };
  const fast = counts[neighbours];
  const slow = counts[neighbours === "free" ? "contracted" : "free"];
  const rounds = (fast * slow) / plan.invocations;
  const local = variableIndex("own", 0, plan.invocations - 1);
  return Array.from({ length: rounds }, (_, round): Load => {
    const [outer, inner] = delinearize(offsetIndex(local, round * plan.invocations), [slow, fast]) as [Index, Index];
    const [free, contracted] = neighbours === "free" ? [inner, outer] : [outer, inner];
    const [outerCode, innerCode] = [`(local / ${fast}u + ${(round * plan.invocations) / fast}u)`, `(local % ${fast}u)`];
    const [freeCode, contractedCode] = neighbours === "free" ? [innerCode, outerCode] : [outerCode, innerCode];
    const place = isAlong
      ? `${slotOfColumn(side, freeCode, tile)} * ${layout.stride}u + ${contractedCode}`
      : `${contractedCode} * ${layout.stride}u + ${freeCode}`;
    const name = emitter.fresh("place");
    emitter.line(`let ${name} = ${place};`);
    const quad = isAlong
      ? quadAlongContraction(emitter, plan, staging, free, clamps)
      : quadAlongFree(emitter, plan, staging, free, clamps);
    return {
      place: `tile_${side}[${name}]`,
      value: (step) => quad(step, contracted),
    };
  });
}

/** Rows of the staged array are interleaved for b: neighbouring invocations read four columns each. */
const slotOfColumn = (side: Side, column: string, tile: number): string =>
  side === "a" ? column : `(${column} % 4u * ${tile / 4}u + ${column} / 4u)`;

/** Positions that stay inside: beyond the end, rows and columns are not stored, and terms are replaced by zero. */
class Clamps {
  readonly #emitter: Emitter;
  /** Equal positions share their variables; a position that changes in the loop has the loop's variable in its key. */
  readonly #known = new Map<string, { readonly index: Index; readonly inside?: string }>();

  constructor(emitter: Emitter) {
    this.#emitter = emitter;
  }

  at(exact: Index, count: number): { readonly index: Index; readonly inside?: string } {
    if (exact.high < count) return { index: exact };
    const key = `${exact.key}<${count}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const { code } = this.#emitter.index(exact);
    const name = this.#emitter.fresh("at");
    this.#emitter.line(`let ${name} = min(${code}, ${count - 1});`);
    this.#emitter.declare(name);
    const made = { index: variableIndex(name, 0, count - 1), inside: `${code} < ${count}` };
    this.#known.set(key, made);
    return made;
  }
}

/** Loads of quads along the contraction, at one free position. */
function quadAlongContraction(emitter: Emitter, plan: Plan, staging: Staging, free: Index, clamps: Clamps) {
  const { contraction, variant } = plan;
  const exact = addIndex(scaleIndex(tileIndex(plan, staging.side), staging.tile), free);
  const { index } = clamps.at(exact, staging.extent);
  return (step: Index, quad: Index): string => {
    const at = addIndex(scaleIndex(step, variant.depth / 4), quad);
    const { index: inner, inside } = clamps.at(at, contraction.depth / 4);
    const value = operandValue(emitter, plan, staging, index, addIndex(scaleIndex(inner, 4), laneIndex));
    return staged(value.width === 4 ? value.code : splat(value), staging, inside);
  };
}

/** Loads of quads along the free coordinate, at one contracted position. */
function quadAlongFree(emitter: Emitter, plan: Plan, staging: Staging, quad: Index, clamps: Clamps) {
  const { contraction, variant } = plan;
  const { extent, tile, side } = staging;
  const exact = addIndex(scaleIndex(tileIndex(plan, side), tile / 4), quad);
  const isWhole = extent % 4 === 0;
  const positions = isWhole
    ? [addIndex(scaleIndex(clamps.at(exact, extent / 4).index, 4), laneIndex)]
    : [0, 1, 2, 3].map((lane) => clamps.at(offsetIndex(scaleIndex(exact, 4), lane), extent).index);
  return (step: Index, contracted: Index): string => {
    const at = addIndex(scaleIndex(step, variant.depth), contracted);
    const { index: inner, inside } = clamps.at(at, contraction.depth);
    const values = positions.map((position) => operandValue(emitter, plan, staging, position, inner));
    const [first] = values as [Value];
    if (isWhole) return staged(first.width === 4 ? first.code : splat(first), staging, inside);
    const type = computeType[contraction.dot.dtype];
    return staged(`vec4<${type}>(${values.map(({ code }) => code).join(", ")})`, staging, inside);
  };
}

const operandValue = (emitter: Emitter, plan: Plan, { side }: Staging, free: Index, inner: Index): Value =>
  emitter.value(
    plan.contraction[side],
    operandCoordinates(
      plan.contraction,
      side,
      batchIndex(plan),
      free,
      contractedAt(plan.contraction, plan.order, inner),
    ),
  );

/** A quad in the type of workgroup memory, zero where its terms do not exist. */
function staged(code: string, { type }: Staging, inside: string | undefined): string {
  const converted = type === "f16" ? `vec4<f16>(${code})` : code;
  return inside === undefined ? converted : `select(vec4<${type}>(0), ${converted}, ${inside})`;
}

/** The multiply-adds of one tile: four terms of the contraction per iteration, all indices of registers constant. */
function drawProducts(emitter: Emitter, { variant, a, b }: Plan, type: string): void {
  const { groupRows, groupColumns, depth } = variant;
  const rowQuads = [...Array(variant.rows / 4).keys()];
  const columnQuads = [...Array(variant.columns / 4).keys()];
  const lanes = [0, 1, 2, 3];
  const read = (staging: Staging, at: string): string => {
    const name = emitter.fresh(staging.side);
    const load = `tile_${staging.side}[${at}]`;
    emitter.line(`let ${name} = ${staging.type === "f16" ? `vec4<f32>(${load})` : load};`);
    return name;
  };
  const isAlong = (staging: Staging) => staging.layout.quads === "contracted";
  const strideA = a.layout.stride;
  const strideB = b.layout.stride;
  /** Rows of a quad at one term. */
  const rowsAt = (term: number): string[] =>
    rowQuads.map((quad) => read(a, `(quad * 4u + ${term}u) * ${strideA}u + own_row + ${quad * groupRows}u`));
  const multiply = (row: number, quad: number, left: string, right: string) =>
    emitter.line(`${sumName(row, quad)} += ${left} * ${right};`);

  emitter.block(`for (var quad = 0u; quad < ${depth / 4}u; quad++) {`, () => {
    const terms = isAlong(a)
      ? rowQuads.map((quad) =>
          lanes.map((lane) =>
            read(a, `(own_row + ${quad * groupRows}u) * ${4 * strideA}u + ${lane * strideA}u + quad`),
          ),
        )
      : undefined;
    /** The factor of a row of results at a term, from quads over terms or over rows. */
    const factor = (row: number, term: number, rows: readonly string[]): string =>
      terms === undefined
        ? `${rows[Math.floor(row / 4)]}[${row % 4}]`
        : `${terms[Math.floor(row / 4)]?.[row % 4]}[${term}]`;
    const rows = [...Array(variant.rows).keys()];
    if (isAlong(b)) {
      const rowsOf = lanes.map((term) => (terms === undefined ? rowsAt(term) : []));
      for (const quad of columnQuads) {
        const columns = lanes.map((lane) =>
          read(b, `(own_column + ${quad * groupColumns + (lane * b.tile) / 4}u) * ${strideB}u + quad`),
        );
        for (const term of lanes) {
          const right = emitter.fresh("right");
          emitter.line(`let ${right} = ${type}(${columns.map((column) => `${column}[${term}]`).join(", ")});`);
          for (const row of rows) multiply(row, quad, factor(row, term, rowsOf[term] as string[]), right);
        }
      }
      return;
    }
    for (const term of lanes) {
      const own = terms === undefined ? rowsAt(term) : [];
      const columns = columnQuads.map((quad) =>
        read(b, `(quad * 4u + ${term}u) * ${strideB}u + own_column + ${quad * groupColumns}u`),
      );
      for (const row of rows) {
        for (const quad of columnQuads) multiply(row, quad, factor(row, term, own), columns[quad] as string);
      }
    }
  });
}

/** The epilogue: column by column of quads, so that what depends on columns alone is loaded once for all rows. */
function drawResults(emitter: Emitter, cluster: Cluster, plan: Plan): void {
  const { contraction, variant } = plan;
  const tile = tileOf(variant);
  const batch = batchIndex(plan);
  const [ownRow, ownColumn] = [
    variableIndex("result_row", 0, variant.groupRows - 1),
    variableIndex("result_column", 0, variant.groupColumns - 1),
  ];
  emitter.line("let result_row = i32(own_row);");
  emitter.line("let result_column = i32(own_column);");

  const rowQuadAt = (row: number): Index =>
    addIndex(
      scaleIndex(tileIndex(plan, "a"), tile.rows / 4),
      offsetIndex(ownRow, Math.floor(row / 4) * variant.groupRows),
    );
  const drawColumn = (column: Index, code: (row: number) => string, width: 1 | 4): void => {
    for (let row = 0; row < variant.rows; row++) {
      const exact = offsetIndex(scaleIndex(rowQuadAt(row), 4), row % 4);
      within(emitter, exact, contraction.rows, (index) => {
        const at = { batch, row: index, column };
        if (contraction.isSymmetric) drawPair(emitter, cluster, contraction, at, code(row));
        else drawElement(emitter, cluster, contraction, at, { code: code(row), width });
      });
    }
  };
  for (let quad = 0; quad < variant.columns / 4; quad++) {
    const exact = addIndex(
      scaleIndex(tileIndex(plan, "b"), tile.columns / 4),
      offsetIndex(ownColumn, quad * variant.groupColumns),
    );
    if (contraction.columns % 4 === 0 && contraction.isSymmetric) {
      within(emitter, exact, contraction.columns / 4, (columnQuad) => {
        for (let first = 0; first < variant.rows; first += 4) {
          const at = { batch, rowQuad: rowQuadAt(first), columnQuad };
          drawBlock(emitter, cluster, contraction, at, (row) => sumName(first + Number(row), quad), false);
        }
      });
      continue;
    }
    if (contraction.columns % 4 === 0) {
      within(emitter, exact, contraction.columns / 4, (index) =>
        drawColumn(addIndex(scaleIndex(index, 4), laneIndex), (row) => sumName(row, quad), 4),
      );
      continue;
    }
    for (const lane of [0, 1, 2, 3]) {
      within(emitter, offsetIndex(scaleIndex(exact, 4), lane), contraction.columns, (index) =>
        drawColumn(index, (row) => `${sumName(row, quad)}[${lane}]`, 1),
      );
    }
  }
}
