/**
 * Contraction with few rows or few columns: products of a matrix with one or a few vectors.
 *
 * Such a product reads the long operand once and does little with it, so the aim is to read it at full speed. The
 * invocations of a workgroup share the terms: `slices` of them take every `slices`-th term (or quad of terms) of the same
 * results, then a tree of `log2(slices)` steps in workgroup memory adds up their parts, always in the same order.
 *
 * - The long operand lies together along the contraction: neighbouring invocations take neighbouring quads of terms. One
 *   invocation works on up to four long positions, so that a quad of the short operand, which comes from the cache, serves
 *   several.
 * - It lies together along its free coordinate: neighbouring invocations take neighbouring quads of positions.
 *
 * Every element of the long operand is loaded once, the short operand `units · each` times less often than that. Workgroup
 * memory: one element per invocation and result. The epilogue runs once per result, by the first invocations.
 */
import { type Emitter, laneIndex, splat, type Value } from "../../compiler/emit";
import type { Cluster } from "../../compiler/fuse";
import { computeType } from "../../dtype";
import { addIndex, constantIndex, type Index, offsetIndex, scaleIndex, variableIndex } from "../../view";
import type { KernelTensors } from "../kernel";
import {
  bestOrder,
  type Contraction,
  contractedAt,
  type Drawing,
  drawElement,
  operandCoordinates,
  type Side,
  within,
} from "./operands";
import { type SkinnyVariant, skinnyShape } from "./variants";

interface Plan {
  readonly contraction: Contraction;
  readonly variant: SkinnyVariant;
  readonly order: readonly number[];
  readonly long: Side;
  /** Positions along the long and the short free coordinate. */
  readonly longExtent: number;
  readonly shortExtent: number;
  /** The coordinate along which invocations next to each other take neighbours. */
  readonly along: "contracted" | "free";
  /** Terms, or positions of the long coordinate, that an invocation loads at once. */
  readonly width: 1 | 4;
  /** Long positions of one invocation, and of a workgroup. */
  readonly each: number;
  readonly tile: number;
  readonly invocations: number;
}

export function skinnyDrawing(contraction: Contraction, { isStored }: KernelTensors, variant: SkinnyVariant): Drawing {
  const { order, a, b } = bestOrder(contraction, isStored);
  const { long, along, width, each, partials } = skinnyShape(variant, { ...contraction, a, b });
  const [longExtent, shortExtent] =
    long === "a" ? [contraction.rows, contraction.columns] : [contraction.columns, contraction.rows];
  const invocations = variant.slices * variant.units;
  const tile = variant.units * each;
  const plan: Plan = {
    contraction,
    variant,
    order,
    long,
    longExtent,
    shortExtent,
    along,
    width,
    each,
    tile,
    invocations,
  };
  const type = computeType[contraction.dot.dtype];
  return {
    workgroupSize: invocations,
    workgroups: Math.ceil(longExtent / tile) * contraction.batch,
    storesVectors: false,
    arrays: [{ name: "parts", type, length: partials * invocations }],
    draw: (emitter, cluster) => draw(emitter, cluster, plan),
  };
}

const batchIndex = ({ contraction }: Plan): Index => variableIndex("batch", 0, contraction.batch - 1);
const tileIndex = ({ longExtent, tile }: Plan): Index => variableIndex("tile", 0, Math.ceil(longExtent / tile) - 1);

function draw(emitter: Emitter, cluster: Cluster, plan: Plan): void {
  const { contraction, variant, along } = plan;
  const tiles = Math.ceil(plan.longExtent / plan.tile);
  emitter.line(`if (number >= ${tiles * contraction.batch}u) { return; }`);
  emitter.line(`let batch = i32(number / ${tiles}u);`);
  emitter.line(`let tile = i32(number % ${tiles}u);`);
  const [fast, slow] = along === "contracted" ? ["slice", "unit"] : ["unit", "slice"];
  const count = along === "contracted" ? variant.slices : variant.units;
  emitter.line(`let ${fast} = i32(local % ${count}u);`);
  emitter.line(`let ${slow} = i32(local / ${count}u);`);
  const sums = along === "contracted" ? drawAlongContraction(emitter, plan) : drawAlongFree(emitter, plan);
  for (const [index, sum] of sums.entries()) {
    emitter.line(`parts[local + ${index * plan.invocations}u] = ${sum};`);
  }
  drawTree(emitter, plan, sums.length);
  drawResults(emitter, cluster, plan);
}

const valueAt = (emitter: Emitter, plan: Plan, side: Side, free: Index, inner: Index): Value =>
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

const shortSide = ({ long }: Plan): Side => (long === "a" ? "b" : "a");

/** A long position that stays inside; what is computed beyond it is not stored. */
function clampedPosition(emitter: Emitter, exact: Index, count: number): Index {
  if (exact.high < count) return exact;
  const name = emitter.fresh("at");
  emitter.line(`let ${name} = min(${emitter.index(exact).code}, ${count - 1});`);
  emitter.declare(name);
  return variableIndex(name, 0, count - 1);
}

/** The terms of this slice, one step (a term or a quad of them) after the other. */
function overSlice(emitter: Emitter, plan: Plan, steps: number, body: (step: Index) => void): void {
  const { slices } = plan.variant;
  const slice = variableIndex("slice", 0, slices - 1);
  emitter.loop("step", Math.ceil(steps / slices), (step) =>
    within(emitter, addIndex(scaleIndex(step, slices), slice), steps, body),
  );
}

/** Sums of `each` long positions with every short one. */
function drawAlongContraction(emitter: Emitter, plan: Plan): string[] {
  const { contraction, each, shortExtent, longExtent, width, variant } = plan;
  const type = computeType[contraction.dot.dtype];
  const unit = variableIndex("unit", 0, variant.units - 1);
  const first = addIndex(scaleIndex(tileIndex(plan), plan.tile), scaleIndex(unit, each));
  const positions = Array.from({ length: each }, (_, own) =>
    clampedPosition(emitter, offsetIndex(first, own), longExtent),
  );
  const names = positions.map((_, own) => Array.from({ length: shortExtent }, (_, short) => `sum${own}_${short}`));
  for (const name of names.flat()) emitter.line(`var ${name} = ${type}(0);`);
  overSlice(emitter, plan, contraction.depth / width, (step) => {
    const inner = width === 4 ? addIndex(scaleIndex(step, 4), laneIndex) : step;
    const factor = (side: Side, free: Index): string => {
      const value = valueAt(emitter, plan, side, free, inner);
      return width === 4 && value.width === 1 ? splat(value) : value.code;
    };
    const long = positions.map((position) => factor(plan.long, position));
    for (let short = 0; short < shortExtent; short++) {
      const right = factor(shortSide(plan), constantIndex(short));
      for (const [own, left] of long.entries()) {
        emitter.line(`${names[own]?.[short]} += ${width === 4 ? `dot(${left}, ${right})` : `${left} * ${right}`};`);
      }
    }
  });
  return names.flat();
}

/** Sums of a quad of long positions with every short one. */
function drawAlongFree(emitter: Emitter, plan: Plan): string[] {
  const { contraction, shortExtent, longExtent, variant } = plan;
  const unit = variableIndex("unit", 0, variant.units - 1);
  const exact = addIndex(scaleIndex(tileIndex(plan), variant.units), unit);
  const free = addIndex(scaleIndex(clampedPosition(emitter, exact, longExtent / 4), 4), laneIndex);
  const names = Array.from({ length: shortExtent }, (_, short) => `sum${short}`);
  for (const name of names) emitter.line(`var ${name} = vec4<${computeType[contraction.dot.dtype]}>(0);`);
  overSlice(emitter, plan, contraction.depth, (term) => {
    const left = valueAt(emitter, plan, plan.long, free, term);
    for (const [short, name] of names.entries()) {
      const right = valueAt(emitter, plan, shortSide(plan), constantIndex(short), term);
      emitter.line(`${name} += ${left.code} * ${right.code};`);
    }
  });
  return names.flatMap((name) => [0, 1, 2, 3].map((lane) => `${name}[${lane}]`));
}

/** Adds the upper half of the slices to the lower half until one is left. */
function drawTree(emitter: Emitter, { variant, along, invocations }: Plan, partials: number): void {
  for (let half = variant.slices / 2; half >= 1; half /= 2) {
    emitter.line("workgroupBarrier();");
    const distance = along === "contracted" ? half : half * variant.units;
    emitter.block(`if (slice < ${half}) {`, () => {
      emitter.block(`for (var part = 0u; part < ${partials}u; part++) {`, () => {
        const at = `part * ${invocations}u + local`;
        emitter.line(`parts[${at}] += parts[${at} + ${distance}u];`);
      });
    });
  }
  emitter.line("workgroupBarrier();");
}

/** Every result of the workgroup by one invocation, neighbours in memory by neighbouring ones. */
function drawResults(emitter: Emitter, cluster: Cluster, plan: Plan): void {
  const { contraction, variant, shortExtent, tile, each, invocations, along, long, longExtent } = plan;
  const results = tile * shortExtent;
  emitter.loop("round", Math.ceil(results / invocations), (round) => {
    const local = variableIndex("own", 0, invocations - 1);
    emitter.line("let own = i32(local);");
    within(emitter, addIndex(scaleIndex(round, invocations), local), results, (index) => {
      const result = emitter.fresh("result");
      emitter.line(`let ${result} = u32(${emitter.index(index).code});`);
      const [fast, slow] = long === "a" ? ["short", "position"] : ["position", "short"];
      const count = long === "a" ? shortExtent : tile;
      emitter.line(`let ${fast} = ${result} % ${count}u;`);
      emitter.line(`let ${slow} = ${result} / ${count}u;`);
      const [part, first] =
        along === "contracted"
          ? [`(position % ${each}u * ${shortExtent}u + short)`, `position / ${each}u * ${variant.slices}u`]
          : [`(short * ${each}u + position % ${each}u)`, `position / ${each}u`];
      emitter.line(`let total = parts[${part} * ${invocations}u + ${first}];`);
      emitter.line("let in_tile = i32(position);");
      emitter.line("let in_short = i32(short);");
      for (const name of ["in_tile", "in_short"]) emitter.declare(name);
      const exact = addIndex(scaleIndex(tileIndex(plan), tile), variableIndex("in_tile", 0, tile - 1));
      within(emitter, exact, longExtent, (position) => {
        const short = variableIndex("in_short", 0, shortExtent - 1);
        const [row, column] = long === "a" ? [position, short] : [short, position];
        drawElement(
          emitter,
          cluster,
          contraction,
          { batch: batchIndex(plan), row, column },
          { code: "total", width: 1 },
        );
      });
    });
  });
}
