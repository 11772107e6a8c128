/**
 * Chooses among variants of one kernel by measuring. What measures is an argument, and so is the clock.
 */

import type { Variant } from "./table";
import type { CandidateReport } from "./tuning";

/** One variant as it can be run. */
export interface Candidate<K> {
  readonly variant: Variant;
  /** Undefined if the engine could not make a kernel of it, for the reason given. */
  readonly kernel: K | undefined;
  readonly reason?: string;
}

/** How kernels are run for measuring. */
export interface Measurer<K> {
  /** Compiles kernels, at once. @returns for each why it does not compile, or undefined. */
  prepare(kernels: readonly K[]): Promise<readonly (string | undefined)[]>;
  /** What a kernel computes from fixed data. @throws whatever the device says. */
  results(kernel: K): Promise<readonly Results[]>;
  /** Nanoseconds of one dispatch, once measured. @throws whatever the device says. */
  time(kernel: K): Promise<number>;
}

/** One tensor of results. Integers have to agree exactly. */
export interface Results {
  readonly values: ArrayLike<number>;
  readonly isExact: boolean;
  /** Spacing of the numbers in which the values are stored, relative to 1. */
  readonly unitRoundoff: number;
}

export interface Selection {
  readonly candidates: readonly CandidateReport[];
  readonly chosen: Variant;
  readonly nanoseconds: number;
  readonly untunedNanoseconds: number;
}

/** Runs of every variant, of which the median counts. */
const runs = 5;
/** A variant whose first run takes so many times the shortest first run is out. */
const hopeless = 1.6;
/** A variant has to be faster than the first one by this factor: less is noise. */
const worthwhile = 0.98;

/**
 * Measures variants in turn, so that a drifting clock hits all alike, and takes the one with the shortest median. The
 * first variant is the measure of correctness: another one whose results differ from its results by more than rounding
 * is dropped before it is timed.
 *
 * @param terms of the longest sum in a result.
 * @returns undefined if the first variant cannot be run, so that there is nothing to compare with.
 */
export async function selectVariant<K>(
  candidates: readonly Candidate<K>[],
  measurer: Measurer<K>,
  terms: number,
): Promise<Selection | undefined> {
  const outcomes = new Map<Candidate<K>, CandidateReport>();
  const drop = ({ variant }: Candidate<K>, outcome: "failed" | "wrong" | "slow", reason?: string) => ({
    variant,
    nanoseconds: null,
    outcome,
    ...(reason === undefined ? {} : { reason }),
  });
  const attempt = async <T>(candidate: Candidate<K>, run: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await run();
    } catch (error) {
      outcomes.set(candidate, drop(candidate, "failed", messageOf(error)));
      return undefined;
    }
  };

  const made = candidates.filter((candidate) => candidate.kernel !== undefined);
  for (const candidate of candidates) {
    if (candidate.kernel === undefined) outcomes.set(candidate, drop(candidate, "failed", candidate.reason));
  }
  const problems = await measurer.prepare(made.map(({ kernel }) => kernel as K));
  for (const [index, candidate] of made.entries()) {
    const problem = problems[index];
    if (problem !== undefined) outcomes.set(candidate, drop(candidate, "failed", problem));
  }

  const [first] = candidates;
  if (first === undefined || outcomes.has(first)) return undefined;
  const expected = await attempt(first, () => measurer.results(first.kernel as K));
  if (expected === undefined) return undefined;
  for (const candidate of made) {
    if (candidate === first || outcomes.has(candidate)) continue;
    const actual = await attempt(candidate, () => measurer.results(candidate.kernel as K));
    const difference = actual && differenceOf(expected, actual, terms);
    if (difference !== undefined) outcomes.set(candidate, drop(candidate, "wrong", difference));
  }

  const times = new Map<Candidate<K>, number[]>();
  const timeOnce = async (candidate: Candidate<K>): Promise<void> => {
    const time = await attempt(candidate, () => measurer.time(candidate.kernel as K));
    if (time !== undefined) times.set(candidate, [...(times.get(candidate) ?? []), time]);
  };
  const running = () => made.filter((candidate) => !outcomes.has(candidate));
  for (const candidate of running()) await timeOnce(candidate);
  const shortest = Math.min(...[...times.values()].flat());
  for (const candidate of running()) {
    const isHopeless = (times.get(candidate)?.[0] as number) > hopeless * shortest;
    if (isHopeless && candidate !== first) outcomes.set(candidate, drop(candidate, "slow"));
  }
  for (let run = 1; run < runs; run++) for (const candidate of running()) await timeOnce(candidate);

  if (outcomes.has(first)) return undefined;
  const medians = new Map(running().map((candidate) => [candidate, median(times.get(candidate) as number[])]));
  const untunedNanoseconds = medians.get(first) as number;
  let best = first;
  for (const [candidate, time] of medians) {
    if (time < (medians.get(best) as number) && time < worthwhile * untunedNanoseconds) best = candidate;
  }
  return {
    candidates: candidates.map(
      (candidate) =>
        outcomes.get(candidate) ?? {
          variant: candidate.variant,
          nanoseconds: medians.get(candidate) as number,
          outcome: "measured",
        },
    ),
    chosen: best.variant,
    nanoseconds: medians.get(best) as number,
    untunedNanoseconds,
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const roundoffOfSums = 2 ** -24;

/**
 * Where two sets of results differ by more than rounding, in a sentence. Sums of `terms` products in another order differ
 * by about the square root of their number in units of the last place; the factor of 8 covers what epilogues add.
 */
export function differenceOf(
  expected: readonly Results[],
  actual: readonly Results[],
  terms: number,
): string | undefined {
  for (const [index, { values, isExact, unitRoundoff }] of expected.entries()) {
    const other = actual[index]?.values;
    if (other === undefined || other.length !== values.length) return `result ${index} is missing`;
    let largest = 0;
    for (let i = 0; i < values.length; i++) {
      const size = Math.abs(values[i] as number);
      if (Number.isFinite(size) && size > largest) largest = size;
    }
    const bound = isExact ? 0 : largest * (roundoffOfSums * (8 * Math.sqrt(terms) + 64) + 4 * unitRoundoff);
    for (let i = 0; i < values.length; i++) {
      const [wanted, got] = [values[i] as number, other[i] as number];
      if (Object.is(wanted, got) || wanted === got || Math.abs(wanted - got) <= bound) continue;
      return `result ${index}, element ${i} is ${got} and not ${wanted} (bound ${bound.toPrecision(2)})`;
    }
  }
  return undefined;
}
