/**
 * Contraction with operands read through views, and an epilogue of elementwise members.
 *
 * One invocation computes a tile of rows (free coordinates of a) by 4 columns (free coordinates of b) in registers,
 * the columns as one vector, and runs serially over the contracted coordinates: nested loops, so that what a view needs
 * of an outer coordinate is computed once there. Operands are loaded as vectors along whichever of their coordinates
 * lies together in memory. Convolutions are the same kernel: their unfolded operand is an index map.
 *
 * Traffic per contracted coordinate with 8 rows: 12 elements loaded for 32 multiply-adds. No workgroup memory, no barriers.
 */
import { type Emitter, laneIndex, type Value } from "../compiler/emit";
import { type Cluster, memberCoordinates } from "../compiler/fuse";
import type { CompileTarget } from "../compiler/target";
import { computeType } from "../dtype";
import { type DotParams, dotFlops, freeAxes } from "../primitives/dot";
import { sameShape, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { addIndex, constantIndex, delinearize, type Index, offsetIndex, scaleIndex, variableIndex } from "../view";
import { bindingSlots, bytesOf, type Kernel, type KernelTensors, kernelText, makeEmitter, splitGrid } from "./kernel";

const columnsPerTile = 4;
const invocationsPerGroup = 64;
/** Characters of a kernel's statements. */
const longestText = 8000;

/** Along which coordinate an operand is loaded four at a time. */
type LoadAlong = "contracted" | "free" | "nothing";

interface Plan {
  readonly dot: Tensor;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly params: DotParams;
  readonly batchShape: readonly number[];
  readonly rowShape: readonly number[];
  readonly columnShape: readonly number[];
  readonly rows: number;
  readonly columns: number;
  readonly rowsPerTile: number;
  /** Columns do not fill the last tile. */
  readonly isRagged: boolean;
  /** Extents of the contracted coordinates and the order in which they are looped over. */
  readonly contracted: readonly number[];
  readonly loopOrder: readonly number[];
  /** Contracted coordinates per iteration of the innermost loop. */
  readonly unroll: number;
  readonly loadA: LoadAlong;
  readonly loadB: LoadAlong;
  /** Invocations of a workgroup along columns and rows. */
  readonly groupColumns: number;
  readonly groupRows: number;
}

export function contractionKernel(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): Kernel {
  const slots = bindingSlots(tensors);
  const plan = choosePlan(cluster, tensors, target);
  const trial = makeEmitter(tensors, slots, () => false);
  draw(trial, cluster, plan);
  const wide = wideTensors(tensors, plan, trial);
  const isVector = (node: Tensor) => wide.has(node);
  const emitter = makeEmitter(tensors, slots, isVector);
  draw(emitter, cluster, plan);
  const workgroupSize = plan.groupColumns * plan.groupRows;
  const { code, uniforms } = kernelText(slots, emitter.statements(), isVector, [workgroupSize]);
  const { groupsPerRow, groupsPerColumn } = gridOf(plan);
  const epilogue = cluster.members.slice(1).map(({ node }) => node.primitive.name);
  return {
    spec: {
      label: [
        "dot",
        plan.dot.dtype,
        `${plan.rows}x${plan.columns}x${sizeOf(plan.contracted)}`,
        ...epilogue.slice(0, 3),
      ].join("_"),
      code,
      workgroupSize: [workgroupSize],
      bindings: slots.map(({ access }) => access),
      uniforms,
    },
    bindings: slots.map((slot) => slot.tensors),
    workgroups: splitGrid(groupsPerRow * groupsPerColumn * sizeOf(plan.batchShape), target),
    flops: dotFlops(plan.dot.shape, plan.contracted),
    bytes: bytesOf([...tensors.reads, ...tensors.writes]),
  };
}

const gridOf = (plan: Plan) => ({
  groupsPerRow: Math.ceil(Math.ceil(plan.columns / columnsPerTile) / plan.groupColumns),
  groupsPerColumn: Math.ceil(Math.ceil(plan.rows / plan.rowsPerTile) / plan.groupRows),
});

const powerOfTwoFor = (count: number, most: number): number => {
  let power = 1;
  while (power < count && power < most) power *= 2;
  return power;
};

/**
 * The largest tile whose text stays short. Where every row has coordinates of its own (taps of a kernel gradient, say),
 * the text grows with rows times unrolled terms, and compilers of shaders take more than linear time.
 */
function choosePlan(cluster: Cluster, tensors: KernelTensors, { contractionTiles }: CompileTarget): Plan {
  const isShort = (plan: Plan): boolean => {
    const trial = makeEmitter(tensors, bindingSlots(tensors), () => false);
    drawSums(trial, plan);
    return trial.text().length <= longestText;
  };
  let rows = 1;
  for (const tile of contractionTiles) {
    const plan = planTile(cluster, tensors, tile.rows, tile.unroll);
    const isWanted = !tile.needsVectors || (plan.loadA === "contracted" && plan.loadB === "contracted");
    if (isWanted && isShort(plan)) return plan;
    rows = tile.rows;
  }
  for (; rows > 1; rows = Math.ceil(rows / 2)) {
    const plan = planTile(cluster, tensors, rows, 1);
    if (isShort(plan)) return plan;
  }
  return planTile(cluster, tensors, 1, 1);
}

function planTile(cluster: Cluster, tensors: KernelTensors, mostRows: number, unroll: 1 | 4): Plan {
  const dot = cluster.members[0]?.node as Tensor;
  const [a, b] = dot.inputs as [Tensor, Tensor];
  const params = dot.params as DotParams;
  const extentsOf = (x: Tensor, axes: readonly number[]) => axes.map((axis) => x.shape[axis] as number);
  const rowShape = extentsOf(a, freeAxes(a.rank, params.batch[0], params.contract[0]));
  const columnShape = extentsOf(b, freeAxes(b.rank, params.batch[1], params.contract[1]));
  const [rows, columns] = [sizeOf(rowShape), sizeOf(columnShape)];
  const contracted = extentsOf(a, params.contract[0]);
  const groupColumns = powerOfTwoFor(Math.ceil(columns / columnsPerTile), 8);
  const tile = Math.min(rows, mostRows);
  const base: Plan = {
    dot,
    a,
    b,
    params,
    batchShape: extentsOf(a, params.batch[0]),
    rowShape,
    columnShape,
    rows,
    columns,
    rowsPerTile: tile,
    isRagged: columns % columnsPerTile !== 0,
    contracted,
    loopOrder: contracted.map((_, index) => index),
    unroll: 1,
    loadA: "nothing",
    loadB: "nothing",
    groupColumns,
    groupRows: powerOfTwoFor(Math.ceil(rows / tile), invocationsPerGroup / groupColumns),
  };
  return chooseLoads(base, tensors, unroll);
}

/** Tries every contracted coordinate as the innermost one and takes the first with the most vector loads. */
function chooseLoads(base: Plan, tensors: KernelTensors, unroll: 1 | 4): Plan {
  const candidates =
    base.contracted.length === 0
      ? [base]
      : base.contracted.map((extent, index): Plan => {
          const order = [...base.contracted.keys()].filter((other) => other !== index);
          return { ...base, loopOrder: [...order, index], unroll: extent % unroll === 0 ? unroll : 1 };
        });
  const scored = candidates.map((plan) => {
    const along = (side: "a" | "b", how: LoadAlong) => loadsVectors(plan, side, how, tensors);
    const loadA = along("a", "contracted") ? "contracted" : along("a", "free") ? "free" : "nothing";
    const loadB = along("b", "free") ? "free" : along("b", "contracted") ? "contracted" : "nothing";
    const innermost = plan.contracted[plan.loopOrder.at(-1) ?? -1] ?? 1;
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

/** Do loads of an operand, four at a time along the given coordinate, lie together in memory? */
function loadsVectors(plan: Plan, side: "a" | "b", how: LoadAlong, tensors: KernelTensors): boolean {
  if (how === "contracted" && plan.unroll !== 4) return false;
  if (how === "free" && side === "a" && (plan.rowsPerTile % 4 !== 0 || plan.rows % plan.rowsPerTile !== 0))
    return false;
  if (how === "free" && side === "b" && plan.isRagged) return false;
  const emitter = makeEmitter(tensors, bindingSlots(tensors), () => false);
  const batch = variableIndex("batch", 0, sizeOf(plan.batchShape) - 1);
  const contracted = plan.contracted.map((extent, index) => {
    const isInnermost = index === plan.loopOrder.at(-1);
    if (!isInnermost || plan.unroll !== 4) return variableIndex(`k${index}`, 0, extent - 1);
    const quad = scaleIndex(variableIndex(`k${index}`, 0, extent / 4 - 1), 4);
    return how === "contracted" ? addIndex(quad, laneIndex) : quad;
  });
  const freeExtent = side === "a" ? plan.rows : plan.columns;
  const free =
    how === "free"
      ? addIndex(scaleIndex(variableIndex("tile", 0, Math.ceil(freeExtent / 4) - 1), 4), laneIndex)
      : variableIndex("free", 0, freeExtent - 1);
  emitter.value(side === "a" ? plan.a : plan.b, operandCoordinates(plan, side, batch, free, contracted));
  return emitter.splits === 0 && emitter.vectorLoads.size > 0;
}

/** Coordinates in an operand from the position in the batch, among its free elements, and the contracted ones. */
function operandCoordinates(
  plan: Plan,
  side: "a" | "b",
  batch: Index,
  free: Index,
  contracted: readonly Index[],
): Index[] {
  const own = side === "a" ? 0 : 1;
  const operand = side === "a" ? plan.a : plan.b;
  const [batchAxes, contractAxes] = [plan.params.batch[own], plan.params.contract[own]];
  const batchAt = delinearize(batch, plan.batchShape);
  const freeAt = delinearize(free, side === "a" ? plan.rowShape : plan.columnShape);
  let nextFree = 0;
  return operand.shape.map((_, axis) => {
    const inBatch = batchAxes.indexOf(axis);
    if (inBatch >= 0) return batchAt[inBatch] as Index;
    const inContract = contractAxes.indexOf(axis);
    return (inContract >= 0 ? contracted[inContract] : freeAt[nextFree++]) as Index;
  });
}

/** Loaded as vectors throughout; results too unless rows are ragged. */
function wideTensors(tensors: KernelTensors, plan: Plan, trial: Emitter): Set<Tensor> {
  const wide = new Set(trial.vectorLoads);
  for (const node of tensors.writes) {
    const before = tensors.inPlace.get(node);
    for (const own of before === undefined ? [node] : [node, before]) {
      if (plan.isRagged) wide.delete(own);
      else wide.add(own);
    }
  }
  return wide;
}

function draw(emitter: Emitter, cluster: Cluster, plan: Plan): void {
  drawEpilogue(emitter, cluster, plan, drawSums(emitter, plan));
}

/** Where the elements of an invocation's tile are. */
interface Tile {
  readonly batch: Index;
  readonly rows: readonly Index[];
  /** The columns one by one, and as a vector. */
  readonly columns: readonly Index[];
  readonly laneColumns: Index;
}

/** Everything up to the sums of the tile, in the variables `sum0`, `sum1` and so on. */
function drawSums(emitter: Emitter, plan: Plan): Tile {
  const { groupsPerRow, groupsPerColumn } = gridOf(plan);
  const columnTiles = Math.ceil(plan.columns / columnsPerTile);
  const rowTiles = Math.ceil(plan.rows / plan.rowsPerTile);
  emitter.line("let tile = i32(number);");
  emitter.line(
    `let column_tile = (tile % ${groupsPerRow}) * ${plan.groupColumns} + i32(local % ${plan.groupColumns}u);`,
  );
  emitter.line(
    `let row_tile = (tile / ${groupsPerRow} % ${groupsPerColumn}) * ${plan.groupRows} + i32(local / ${plan.groupColumns}u);`,
  );
  emitter.line(`let batch = tile / ${groupsPerRow * groupsPerColumn};`);
  emitter.line(
    `if (column_tile >= ${columnTiles} || row_tile >= ${rowTiles} || batch >= ${sizeOf(plan.batchShape)}) { return; }`,
  );
  const batch = variableIndex("batch", 0, sizeOf(plan.batchShape) - 1);
  const rowTile = variableIndex("row_tile", 0, rowTiles - 1);
  const rowsRagged = plan.rows % plan.rowsPerTile !== 0;
  const rows = Array.from({ length: plan.rowsPerTile }, (_, row) => {
    const exact = offsetIndex(scaleIndex(rowTile, plan.rowsPerTile), row);
    return rowsRagged ? clampedIndex(emitter, exact, plan.rows) : exact;
  });
  const columnTile = variableIndex("column_tile", 0, columnTiles - 1);
  const firstColumn = scaleIndex(columnTile, columnsPerTile);
  const columns = [0, 1, 2, 3].map((lane) => {
    const exact = offsetIndex(firstColumn, lane);
    return plan.isRagged ? clampedIndex(emitter, exact, plan.columns) : exact;
  });
  const type = `vec4<${computeType[plan.dot.dtype]}>`;
  for (const row of rows.keys()) emitter.line(`var sum${row} = ${type}(0);`);

  const tile: Tile = { batch, rows, columns, laneColumns: addIndex(firstColumn, laneIndex) };
  const step = (depth: number, contracted: readonly Index[]): void => {
    const axis = plan.loopOrder[depth];
    if (axis === undefined) {
      drawProducts(emitter, plan, tile, contracted, type);
      return;
    }
    const isInnermost = depth === plan.loopOrder.length - 1;
    const extent = plan.contracted[axis] as number;
    emitter.loop(emitter.fresh("k"), isInnermost ? extent / plan.unroll : extent, (variable) => {
      const at = [...contracted];
      at[axis] = isInnermost ? scaleIndex(variable, plan.unroll) : variable;
      step(depth + 1, at);
    });
  };
  step(
    0,
    plan.contracted.map(() => constantIndex(0)),
  );
  return tile;
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
  { batch, rows, columns, laneColumns }: Tile,
  contracted: readonly Index[],
  type: string,
): void {
  const innermost = plan.loopOrder.at(-1);
  const shifted = (by: Index): Index[] =>
    contracted.map((index, axis) => (axis === innermost ? addIndex(index, by) : index));
  const steps = Array.from({ length: plan.unroll }, (_, step) => step);
  const part = (value: Value, lane: number) => (value.width === 4 ? `${value.code}[${lane}]` : value.code);
  const loadAt = (side: "a" | "b", free: Index, by: Index): Value =>
    emitter.value(side === "a" ? plan.a : plan.b, operandCoordinates(plan, side, batch, free, shifted(by)));

  /** left[row][step] */
  const left = rows.map((row): string[] => {
    if (plan.loadA !== "contracted") return [];
    const value = loadAt("a", row, laneIndex);
    return steps.map((step) => part(value, step));
  });
  if (plan.loadA === "nothing") {
    for (const [r, row] of rows.entries())
      for (const step of steps) left[r]?.push(loadAt("a", row, constantIndex(step)).code);
  } else if (plan.loadA === "free") {
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

function drawEpilogue(
  emitter: Emitter,
  cluster: Cluster,
  plan: Plan,
  { batch, rows, columns, laneColumns }: Tile,
): void {
  const isStored = new Set(cluster.stored);
  const { dot } = plan;
  const element = (row: Index, column: Index, sum: string, width: 1 | 4, condition: string | undefined): void => {
    const flat = addIndex(scaleIndex(addIndex(scaleIndex(batch, plan.rows), row), plan.columns), column);
    const exact = [
      ...delinearize(batch, plan.batchShape),
      ...delinearize(row, plan.rowShape),
      ...delinearize(column, plan.columnShape),
    ];
    for (const member of cluster.members) {
      const { node } = member;
      const at = sameShape(node.shape, dot.shape) ? exact : memberCoordinates(member, flat, []);
      const value: Value =
        node === dot ? { code: sum, width, dtype: dot.dtype, depth: emitter.depth } : emitter.compute(node, at);
      emitter.setRegister(node, value);
      if (isStored.has(node)) emitter.store(node, flat, value, condition);
    }
  };
  const rowsRagged = plan.rows % plan.rowsPerTile !== 0;
  for (const [r, row] of rows.entries()) {
    const inRows = rowsRagged && r > 0 ? `row_tile * ${plan.rowsPerTile} + ${r} < ${plan.rows}` : undefined;
    if (!plan.isRagged) {
      element(row, laneColumns, `sum${r}`, 4, inRows);
      continue;
    }
    for (const [lane, column] of columns.entries()) {
      const inColumns = lane > 0 ? `column_tile * ${columnsPerTile} + ${lane} < ${plan.columns}` : undefined;
      const both = [inRows, inColumns].filter((test) => test !== undefined).join(" && ");
      element(row, column, `sum${r}[${lane}]`, 1, both === "" ? undefined : both);
    }
  }
}
