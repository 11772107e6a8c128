/** When the parts of a block-wise preconditioner do their rare work. */
import type { Block } from "@thalweg/curvature";
import { ArgumentError, type Tensor } from "@thalweg/tensor";
import { checkSteps } from "../schedules/schedule";
import { doesPart, onlyParts, type Refresh } from "../transform";

export interface TurnOptions {
  /** Steps between two measurements. */
  readonly factorInterval: number;
  /** Steps between two inversions of a block; a multiple of `factorInterval`. */
  readonly inverseInterval: number;
  /** Into how many groups blocks are divided that are inverted in different steps, at most. */
  readonly stagger: number;
  /** Steps at the beginning that measure and do not move. */
  readonly burnIn: number;
  /** Steps between two changes of λ; undefined: none. */
  readonly dampingInterval: number | undefined;
}

/** The first step after the burn-in does everything; the parts come back at intervals counted from there. */
export interface Turns {
  refreshesAt(step: number): Refresh;
  /** Whether an update is compiled with measurements, with inversions of a group, with a change of λ. */
  measures(refresh: Refresh | undefined): boolean;
  inverts(refresh: Refresh | undefined, group: number): boolean;
  adapts(refresh: Refresh | undefined): boolean;
  /** Whether it is the turn of these at a step: bool scalars. */
  isMeasured(step: Tensor): Tensor;
  isInverted(step: Tensor, group: number): Tensor;
  isAdapted(step: Tensor): Tensor;
  /** Of each block. */
  groupsOf(blocks: readonly Block[]): readonly number[];
}

/** @throws ArgumentError for intervals that do not fit. */
export function turnsOf(owner: string, options: TurnOptions): Turns {
  const { factorInterval, inverseInterval, burnIn, dampingInterval } = options;
  checkSteps(`${owner}: factorInterval`, factorInterval, 1);
  checkSteps(`${owner}: inverseInterval`, inverseInterval, 1);
  checkSteps(`${owner}: stagger`, options.stagger, 1);
  checkSteps(`${owner}: burnIn`, burnIn, 0);
  if (dampingInterval !== undefined) checkSteps(`${owner}: dampingInterval`, dampingInterval, 1);
  if (inverseInterval % factorInterval !== 0) {
    throw new ArgumentError(
      `${owner}: inverseInterval ${inverseInterval} is no multiple of factorInterval ${factorInterval}. Factors are ` +
        "inverted in steps that measure them.",
    );
  }
  const turns = inverseInterval / factorInterval;
  const groups = Math.min(options.stagger, turns);
  const offsetOf = (group: number): number => Math.floor((group * turns) / groups) * factorInterval;
  const inverse = (group: number): string => `inverses ${group + 1}`;
  const since = (step: Tensor): Tensor => (burnIn === 0 ? step : step.maximum(burnIn).sub(burnIn));
  const isAfter = (step: Tensor): Tensor => step.greaterEqual(burnIn);
  return {
    refreshesAt(step) {
      if (step < burnIn) return onlyParts(["factors"]);
      const t = step - burnIn;
      const due = Array.from({ length: groups }, (_, group) => group).filter(
        (group) => t % inverseInterval === offsetOf(group),
      );
      const parts = [
        ...(t % factorInterval === 0 ? ["factors"] : []),
        ...due.map(inverse),
        ...(dampingInterval !== undefined && t > 0 && t % dampingInterval === 0 ? ["damping"] : []),
      ];
      const all = groups + 1 + (dampingInterval === undefined ? 0 : 1);
      return t === 0 || parts.length === all ? true : onlyParts(parts);
    },
    measures: (refresh) => doesPart(refresh, "factors"),
    inverts: (refresh, group) => doesPart(refresh, inverse(group)),
    adapts: (refresh) => dampingInterval !== undefined && doesPart(refresh, "damping"),
    isMeasured: (step) => step.less(burnIn).or(since(step).rem(factorInterval).equal(0)),
    isInverted(step, group) {
      const t = since(step);
      return isAfter(step).and(t.equal(0).or(t.rem(inverseInterval).equal(offsetOf(group))));
    },
    isAdapted(step) {
      const t = since(step);
      return t.greater(0).and(t.rem(dampingInterval ?? 1).equal(0));
    },
    groupsOf: (blocks) => balanced(blocks.map(inversionCost), groups),
  };
}

/** Multiply-adds of an inversion, up to a factor. */
export function inversionCost(block: Block): number {
  if (block.kind !== "kronecker" && block.kind !== "embedding") return 0;
  const { groups, outs, ins } = block.layout;
  const inputs = block.kind === "kronecker" && block.bias !== undefined ? ins + 1 : ins;
  return groups * (outs ** 3 + (block.kind === "embedding" && !block.isDense ? 0 : inputs ** 3));
}

/** Divides costs among groups: the dearest first, each to the group that has least. */
function balanced(costs: readonly number[], groups: number): readonly number[] {
  const sums = Array.from({ length: groups }, () => 0);
  const chosen = costs.map(() => 0);
  const order = costs.map((_, index) => index).sort((a, b) => (costs[b] as number) - (costs[a] as number) || a - b);
  for (const index of order) {
    const least = sums.indexOf(Math.min(...sums));
    chosen[index] = least;
    sums[least] = (sums[least] as number) + (costs[index] as number);
  }
  return chosen;
}
