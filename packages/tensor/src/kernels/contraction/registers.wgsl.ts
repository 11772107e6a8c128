/**
 * Contraction with tiles in registers, and an epilogue of elementwise members.
 *
 * One invocation computes a tile of rows (free coordinates of a) by 4 columns (free coordinates of b) in registers,
 * the columns as one vector, and runs serially over the contracted coordinates: nested loops, so that what a view needs
 * of an outer coordinate is computed once there. Operands are loaded as vectors along whichever of their coordinates
 * lies together in memory. Convolutions are the same kernel: their unfolded operand is an index map.
 *
 * Traffic per contracted coordinate with 8 rows: 12 elements loaded for 32 multiply-adds. No workgroup memory, no barriers.
 *
 * On CPUs, where a load by a vector of invocations is as many loads as it has lanes, a row's element is loaded by one
 * lane and broadcast to the others: all lanes of a subgroup work on the same rows. With subgroups of 8 and 16 rows, 6
 * loads serve 64 multiply-adds instead of 20.
 */
import { type Emitter, laneIndex, type Value } from "../../compiler/emit";
import type { Cluster } from "../../compiler/fuse";
import { computeType } from "../../dtype";
import { addIndex, constantIndex, type Index, offsetIndex, scaleIndex, variableIndex } from "../../view";
import { bindingSlots, type KernelTensors, makeEmitter } from "../kernel";
import {
  type Contraction,
  type Drawing,
  drawBlock,
  drawElement,
  drawPair,
  operandCoordinates,
  type Side,
  within,
} from "./operands";
import type { RegisterVariant } from "./variants";

const columnsPerTile = 4;
const invocationsPerGroup = 64;
/** Characters of a kernel's statements. */
const longestText = 8000;

/** Along which coordinate an operand is loaded four at a time. */
type LoadAlong = "contracted" | "free" | "nothing";

interface Plan {
  readonly contraction: Contraction;
  readonly rowsPerTile: number;
  /** Columns do not fill the last tile. */
  readonly isRagged: boolean;
  /** The order in which contracted coordinates are looped over. */
  readonly loopOrder: readonly number[];
  /** Contracted coordinates per iteration of the innermost loop. */
  readonly unroll: number;
  readonly loadA: LoadAlong;
  readonly loadB: LoadAlong;
  /** Lanes that load one row each and broadcast it; 0 if every lane loads for itself. */
  readonly lanes: number;
  /** Invocations of a workgroup along columns and rows. */
  readonly groupColumns: number;
  readonly groupRows: number;
}

export function registerDrawing(contraction: Contraction, tensors: KernelTensors, variant: RegisterVariant): Drawing {
  const plan = choosePlan(contraction, tensors, variant);
  const { groupsPerRow, groupsPerColumn } = gridOf(plan);
  return {
    workgroupSize: plan.groupColumns * plan.groupRows,
    workgroups: groupsPerRow * groupsPerColumn * contraction.batch,
    storesVectors: !plan.isRagged && (!contraction.isSymmetric || hasBlocks(plan)),
    draw: (emitter, cluster) => drawEpilogue(emitter, cluster, plan, drawSums(emitter, plan)),
  };
}

/** Does a tile consist of blocks of 4 x 4 results? */
const hasBlocks = ({ isRagged, rowsPerTile }: Plan): boolean => !isRagged && rowsPerTile % 4 === 0;

const gridOf = ({ contraction, rowsPerTile, groupColumns, groupRows }: Plan) => ({
  groupsPerRow: Math.ceil(Math.ceil(contraction.columns / columnsPerTile) / groupColumns),
  groupsPerColumn: Math.ceil(Math.ceil(contraction.rows / rowsPerTile) / groupRows),
});

const powerOfTwoFor = (count: number, most: number): number => {
  let power = 1;
  while (power < count && power < most) power *= 2;
  return power;
};

/**
 * The largest tile up to the wanted one whose text stays short. Where every row has coordinates of its own (taps of a
 * kernel gradient, say), the text grows with rows times unrolled terms, and compilers of shaders take more than linear time.
 */
function choosePlan(contraction: Contraction, tensors: KernelTensors, variant: RegisterVariant): Plan {
  const isShort = (plan: Plan): boolean => {
    const trial = makeEmitter(tensors, bindingSlots(tensors), () => false);
    drawSums(trial, plan);
    return trial.text().length <= longestText;
  };
  const wanted = planTile(contraction, tensors, variant.rows, variant.unroll);
  if (isShort(wanted)) return wanted;
  for (let { rows } = variant; rows > 1; rows = Math.ceil(rows / 2)) {
    const plan = planTile(contraction, tensors, rows, 1);
    if (isShort(plan)) return plan;
  }
  return planTile(contraction, tensors, 1, 1);
}

function planTile(contraction: Contraction, tensors: KernelTensors, mostRows: number, unroll: 1 | 4): Plan {
  const { rows, columns, contracted } = contraction;
  const { broadcastLanes } = tensors;
  const groupColumns = powerOfTwoFor(Math.ceil(columns / columnsPerTile), Math.max(8, broadcastLanes));
  const tile = Math.min(rows, mostRows);
  // All lanes of a subgroup must be in one row of the workgroup; and a few rows are not worth the exchange.
  const broadcasts = broadcastLanes > 0 && groupColumns % broadcastLanes === 0 && 2 * tile >= broadcastLanes;
  const base: Plan = {
    contraction,
    rowsPerTile: tile,
    isRagged: columns % columnsPerTile !== 0,
    loopOrder: contracted.map((_, index) => index),
    unroll: 1,
    loadA: "nothing",
    loadB: "nothing",
    lanes: broadcasts ? broadcastLanes : 0,
    groupColumns,
    groupRows: powerOfTwoFor(Math.ceil(rows / tile), invocationsPerGroup / groupColumns),
  };
  return chooseLoads(base, tensors, unroll);
}

/** Tries every contracted coordinate as the innermost one and takes the first with the most vector loads. */
function chooseLoads(base: Plan, tensors: KernelTensors, unroll: 1 | 4): Plan {
  const { contracted } = base.contraction;
  const candidates =
    contracted.length === 0
      ? [base]
      : contracted.map((extent, index): Plan => {
          const order = [...contracted.keys()].filter((other) => other !== index);
          return { ...base, loopOrder: [...order, index], unroll: extent % unroll === 0 ? unroll : 1 };
        });
  const scored = candidates.map((plan) => {
    const along = (side: Side, how: LoadAlong) => loadsVectors(plan, side, how, tensors);
    const loadA = along("a", "contracted") ? "contracted" : along("a", "free") ? "free" : "nothing";
    const loadB = along("b", "free") ? "free" : along("b", "contracted") ? "contracted" : "nothing";
    const innermost = contracted[plan.loopOrder.at(-1) ?? -1] ?? 1;
    const score =
      (loadA === "nothing" ? 0 : 4) +
      (loadB === "nothing" ? 0 : 4) +
      (plan.unroll === 4 ? 2 : 0) +
      (innermost > 1 ? 1 : 0);
    return { plan: { ...plan, loadA, loadB } as Plan, score };
  });
  const best = Math.max(...scored.map(({ score }) => score));
  return (scored.findLast(({ score }) => score === best) as (typeof scored)[0]).plan;
}

/**
 * Do loads of an operand, four at a time along the given coordinate, lie together in memory? Columns need not be a multiple
 * of four: behind the last one there are others, or the end of the buffer, whose products are not stored.
 */
function loadsVectors(plan: Plan, side: Side, how: LoadAlong, tensors: KernelTensors): boolean {
  if (how === "contracted" && plan.unroll !== 4) return false;
  if (how === "free" && side === "a" && plan.lanes > 0) return false;
  if (how === "free" && side === "a" && (plan.rowsPerTile % 4 !== 0 || plan.contraction.rows % plan.rowsPerTile !== 0))
    return false;
  const emitter = makeEmitter(tensors, bindingSlots(tensors), () => false);
  const batch = variableIndex("batch", 0, plan.contraction.batch - 1);
  const contracted = plan.contraction.contracted.map((extent, index) => {
    const isInnermost = index === plan.loopOrder.at(-1);
    if (!isInnermost || plan.unroll !== 4) return variableIndex(`k${index}`, 0, extent - 1);
    const quad = scaleIndex(variableIndex(`k${index}`, 0, extent / 4 - 1), 4);
    return how === "contracted" ? addIndex(quad, laneIndex) : quad;
  });
  const freeExtent = side === "a" ? plan.contraction.rows : plan.contraction.columns;
  const free =
    how === "free"
      ? addIndex(scaleIndex(variableIndex("tile", 0, Math.ceil(freeExtent / 4) - 1), 4), laneIndex)
      : variableIndex("free", 0, freeExtent - 1);
  emitter.value(plan.contraction[side], operandCoordinates(plan.contraction, side, batch, free, contracted));
  return emitter.splits === 0 && emitter.vectorLoads.size > 0;
}

/** Where the elements of an invocation's tile are. */
interface Tile {
  readonly batch: Index;
  readonly rows: readonly Index[];
  /** The columns one by one, and as a vector. */
  readonly columns: readonly Index[];
  readonly laneColumns: Index;
  /** The rows that this lane loads for its subgroup. */
  readonly ownRows: readonly Index[];
}

/** Everything up to the sums of the tile, in the variables `sum0`, `sum1` and so on. */
function drawSums(emitter: Emitter, plan: Plan): Tile {
  const { groupsPerRow, groupsPerColumn } = gridOf(plan);
  const columnTiles = Math.ceil(plan.contraction.columns / columnsPerTile);
  const rowTiles = Math.ceil(plan.contraction.rows / plan.rowsPerTile);
  emitter.line("let tile = i32(number);");
  // Lanes that broadcast stay: those beyond the columns compute the last ones again and do not store them.
  const stays = keepsAllLanes(plan);
  const columnPlace = `(tile % ${groupsPerRow}) * ${plan.groupColumns} + i32(local % ${plan.groupColumns}u)`;
  if (stays) emitter.line(`let column_place = ${columnPlace};`);
  emitter.line(`let column_tile = ${stays ? `min(column_place, ${columnTiles - 1})` : columnPlace};`);
  emitter.line(
    `let row_tile = (tile / ${groupsPerRow} % ${groupsPerColumn}) * ${plan.groupRows} + i32(local / ${plan.groupColumns}u);`,
  );
  emitter.line(`let batch = tile / ${groupsPerRow * groupsPerColumn};`);
  const beyondColumns = plan.lanes > 0 ? "" : `column_tile >= ${columnTiles} || `;
  emitter.line(`if (${beyondColumns}row_tile >= ${rowTiles} || batch >= ${plan.contraction.batch}) { return; }`);
  if (plan.contraction.isSymmetric) {
    // Below the diagonal; lanes that load for each other stay together.
    const place = stays ? "column_place" : "column_tile";
    const last = plan.lanes > 0 ? `(${place} / ${plan.lanes} * ${plan.lanes} + ${plan.lanes - 1})` : place;
    emitter.line(`if (${last} * 4 + 3 < row_tile * ${plan.rowsPerTile}) { return; }`);
  }
  const batch = variableIndex("batch", 0, plan.contraction.batch - 1);
  const rowTile = variableIndex("row_tile", 0, rowTiles - 1);
  const rowsRagged = plan.contraction.rows % plan.rowsPerTile !== 0;
  const rows = Array.from({ length: plan.rowsPerTile }, (_, row) => {
    const exact = offsetIndex(scaleIndex(rowTile, plan.rowsPerTile), row);
    return rowsRagged ? clampedIndex(emitter, exact, plan.contraction.rows) : exact;
  });
  const columnTile = variableIndex("column_tile", 0, columnTiles - 1);
  const firstColumn = scaleIndex(columnTile, columnsPerTile);
  const columns = [0, 1, 2, 3].map((lane) => {
    const exact = offsetIndex(firstColumn, lane);
    return plan.isRagged ? clampedIndex(emitter, exact, plan.contraction.columns) : exact;
  });
  const type = `vec4<${computeType[plan.contraction.dot.dtype]}>`;
  for (const row of rows.keys()) emitter.line(`var sum${row} = ${type}(0);`);

  const ownRows = rowsOfLane(emitter, plan, rowTile);
  const tile: Tile = { batch, rows, columns, laneColumns: addIndex(firstColumn, laneIndex), ownRows };
  const step = (depth: number, contracted: readonly Index[]): void => {
    const axis = plan.loopOrder[depth];
    if (axis === undefined) {
      drawProducts(emitter, plan, tile, contracted, type);
      return;
    }
    const isInnermost = depth === plan.loopOrder.length - 1;
    const extent = plan.contraction.contracted[axis] as number;
    emitter.loop(emitter.fresh("k"), isInnermost ? extent / plan.unroll : extent, (variable) => {
      const at = [...contracted];
      at[axis] = isInnermost ? scaleIndex(variable, plan.unroll) : variable;
      step(depth + 1, at);
    });
  };
  step(
    0,
    plan.contraction.contracted.map(() => constantIndex(0)),
  );
  return tile;
}

/** Are there lanes beyond the columns that go on for the sake of the other lanes? */
const keepsAllLanes = ({ lanes, groupColumns, contraction }: Plan): boolean =>
  lanes > 0 && Math.ceil(contraction.columns / columnsPerTile) % groupColumns !== 0;

/** The rows of the tile that this lane loads: one of every `lanes` rows. */
function rowsOfLane(emitter: Emitter, { lanes, rowsPerTile, contraction }: Plan, rowTile: Index): Index[] {
  if (lanes === 0) return [];
  emitter.line(`let row_lane = i32(subgroup_lane % ${lanes}u);`);
  emitter.declare("row_lane");
  const first = addIndex(scaleIndex(rowTile, rowsPerTile), variableIndex("row_lane", 0, lanes - 1));
  return Array.from({ length: Math.ceil(rowsPerTile / lanes) }, (_, index) =>
    clampedIndex(emitter, offsetIndex(first, index * lanes), contraction.rows),
  );
}

/** A position that stays inside of the operand: what the last tile computes beyond it is not stored. */
function clampedIndex(emitter: Emitter, exact: Index, extent: number): Index {
  if (exact.high < extent) return exact;
  const name = emitter.fresh("at");
  emitter.line(`let ${name} = min(${emitter.index(exact).code}, ${extent - 1});`);
  emitter.declare(name);
  return variableIndex(name, 0, extent - 1);
}

/** The multiply-adds of one iteration of the innermost loop. */
function drawProducts(
  emitter: Emitter,
  plan: Plan,
  { batch, rows, columns, laneColumns, ownRows }: Tile,
  contracted: readonly Index[],
  type: string,
): void {
  const innermost = plan.loopOrder.at(-1);
  const shifted = (by: Index): Index[] =>
    contracted.map((index, axis) => (axis === innermost ? addIndex(index, by) : index));
  const steps = Array.from({ length: plan.unroll }, (_, step) => step);
  const part = (value: Value, lane: number) => (value.width === 4 ? `${value.code}[${lane}]` : value.code);
  const loadAt = (side: Side, free: Index, by: Index): Value =>
    emitter.value(plan.contraction[side], operandCoordinates(plan.contraction, side, batch, free, shifted(by)));

  const loadSteps = (row: Index): string[] => {
    if (plan.loadA !== "contracted") return steps.map((step) => loadAt("a", row, constantIndex(step)).code);
    const value = loadAt("a", row, laneIndex);
    return steps.map((step) => part(value, step));
  };
  /** left[row][step] */
  let left: string[][];
  if (plan.lanes > 0) {
    const own = ownRows.map(loadSteps);
    left = rows.map((_, r) =>
      (own[Math.floor(r / plan.lanes)] as string[]).map((code) => `subgroupBroadcast(${code}, ${r % plan.lanes}u)`),
    );
  } else if (plan.loadA !== "free") {
    left = rows.map(loadSteps);
  } else {
    left = rows.map(() => []);
    for (const step of steps) {
      for (let r = 0; r < rows.length; r += 4) {
        const value = loadAt("a", addIndex(rows[r] as Index, laneIndex), constantIndex(step));
        for (const lane of [0, 1, 2, 3]) left[r + lane]?.push(part(value, lane));
      }
    }
  }
  /** right[step], a vector over the columns. */
  let right: string[];
  if (plan.loadB === "free") {
    right = steps.map((step) => loadAt("b", laneColumns, constantIndex(step)).code);
  } else if (plan.loadB === "contracted") {
    const values = columns.map((column) => loadAt("b", column, laneIndex));
    right = steps.map((step) => `${type}(${values.map((value) => part(value, step)).join(", ")})`);
  } else {
    right = steps.map(
      (step) => `${type}(${columns.map((column) => loadAt("b", column, constantIndex(step)).code).join(", ")})`,
    );
  }
  for (const [step, vector] of right.entries()) {
    const name = emitter.fresh("b");
    emitter.line(`let ${name} = ${vector};`);
    for (const [r, values] of left.entries()) emitter.line(`sum${r} += ${values[step]} * ${name};`);
  }
}

function drawEpilogue(emitter: Emitter, cluster: Cluster, plan: Plan, tile: Tile): void {
  if (keepsAllLanes(plan)) {
    const columnTiles = Math.ceil(plan.contraction.columns / columnsPerTile);
    emitter.block(`if (column_place < ${columnTiles}) {`, () => drawResults(emitter, cluster, plan, tile));
  } else drawResults(emitter, cluster, plan, tile);
}

function drawResults(emitter: Emitter, cluster: Cluster, plan: Plan, tile: Tile): void {
  if (plan.contraction.isSymmetric) {
    drawMirrored(emitter, cluster, plan, tile);
    return;
  }
  // Elements at the ragged end of a row are stored one by one: as statements, hundreds of lines that shader compilers
  // of GPUs take seconds for.
  if (emitter.keepsLoops || plan.isRagged) {
    drawLoopedEpilogue(emitter, cluster, plan, tile);
    return;
  }
  const { batch, rows, columns, laneColumns } = tile;
  const { contraction } = plan;
  const element = (row: Index, column: Index, sum: string, width: 1 | 4, condition: string | undefined): void =>
    drawElement(emitter, cluster, contraction, { batch, row, column }, { code: sum, width }, condition);
  const rowsRagged = plan.contraction.rows % plan.rowsPerTile !== 0;
  for (const [r, row] of rows.entries()) {
    const inRows = rowsRagged && r > 0 ? `row_tile * ${plan.rowsPerTile} + ${r} < ${plan.contraction.rows}` : undefined;
    if (!plan.isRagged) {
      element(row, laneColumns, `sum${r}`, 4, inRows);
      continue;
    }
    for (const [lane, column] of columns.entries()) {
      const inColumns =
        lane > 0 ? `column_tile * ${columnsPerTile} + ${lane} < ${plan.contraction.columns}` : undefined;
      const both = [inRows, inColumns].filter((test) => test !== undefined).join(" && ");
      element(row, column, `sum${r}[${lane}]`, 1, both === "" ? undefined : both);
    }
  }
}

/** The sums as an array, for a loop over the rows of the tile. */
function drawSumsArray(emitter: Emitter, { contraction, rowsPerTile }: Plan): void {
  const type = `vec4<${computeType[contraction.dot.dtype]}>`;
  const list = Array.from({ length: rowsPerTile }, (_, row) => `sum${row}`).join(", ");
  emitter.line(`var sums = array<${type}, ${rowsPerTile}>(${list});`);
}

/** The epilogue of a product of an operand with itself: what is on or above the diagonal, and its mirror image. */
function drawMirrored(emitter: Emitter, cluster: Cluster, plan: Plan, { batch }: Tile): void {
  const { contraction, rowsPerTile } = plan;
  const { rows, columns } = contraction;
  const tileAt = (name: string, extent: number, inTile: number): Index =>
    variableIndex(`${name}_tile`, 0, Math.ceil(extent / inTile) - 1);
  const [rowTile, columnTile] = [tileAt("row", rows, rowsPerTile), tileAt("column", columns, columnsPerTile)];
  if (hasBlocks(plan)) {
    const block = (own: Index, sum: (row: string) => string): void => {
      const rowQuad = addIndex(scaleIndex(rowTile, rowsPerTile / 4), own);
      drawBlock(emitter, cluster, contraction, { batch, rowQuad, columnQuad: columnTile }, sum, emitter.keepsLoops);
    };
    const blocks = rowsPerTile / 4;
    if (emitter.keepsLoops) {
      drawSumsArray(emitter, plan);
      emitter.loop("block", blocks, (own) => block(own, (row) => `sums[${emitter.index(own).code} * 4 + ${row}]`));
    } else for (let own = 0; own < blocks; own++) block(constantIndex(own), (row) => `sum${own * 4 + Number(row)}`);
    return;
  }
  drawSumsArray(emitter, plan);
  emitter.loop("row", rowsPerTile, (row) => {
    within(emitter, addIndex(scaleIndex(rowTile, rowsPerTile), row), rows, (above) => {
      const sums = emitter.fresh("row_sums");
      emitter.line(`let ${sums} = sums[${emitter.index(row).code}];`);
      // Not as a loop: on CPUs the loop, and an element of the array for each result, cost more than storing it.
      for (let lane = 0; lane < columnsPerTile; lane++) {
        within(emitter, offsetIndex(scaleIndex(columnTile, columnsPerTile), lane), columns, (beside) =>
          drawPair(emitter, cluster, contraction, { batch, row: above, column: beside }, `${sums}[${lane}]`),
        );
      }
    });
  });
}

/** The epilogue as a loop over the tile: one text for all of its elements. */
function drawLoopedEpilogue(emitter: Emitter, cluster: Cluster, plan: Plan, { batch, laneColumns }: Tile): void {
  const { contraction, rowsPerTile, isRagged } = plan;
  drawSumsArray(emitter, plan);
  const positions = (extent: number, inTile: number, name: string, offset: Index): { at: Index; test: string[] } => {
    const tiles = variableIndex(`${name}_tile`, 0, Math.ceil(extent / inTile) - 1);
    const exact = addIndex(scaleIndex(tiles, inTile), offset);
    const test = exact.high < extent ? [] : [`${emitter.index(exact).code} < ${extent}`];
    return { at: clampedIndex(emitter, exact, extent), test };
  };
  emitter.loop("row", rowsPerTile, (row) => {
    const { at, test } = positions(contraction.rows, rowsPerTile, "row", row);
    const sum = `sums[${emitter.index(row).code}]`;
    const element = (column: Index, code: string, width: 1 | 4, tests: readonly string[]): void =>
      drawElement(
        emitter,
        cluster,
        contraction,
        { batch, row: at, column },
        { code, width },
        tests.length === 0 ? undefined : tests.join(" && "),
      );
    if (!isRagged) {
      element(laneColumns, sum, 4, test);
      return;
    }
    emitter.loop("column", columnsPerTile, (lane) => {
      const column = positions(contraction.columns, columnsPerTile, "column", lane);
      element(column.at, `${sum}[${emitter.index(lane).code}]`, 1, [...test, ...column.test]);
    });
  });
}
