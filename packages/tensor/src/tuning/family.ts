/**
 * Families of kernels that come in variants. A family joins by a record here and a hook on the target.
 */
import type { CompileTarget } from "../compiler/target";
import { type ContractionProblem, type ContractionVariant, contractionVariants } from "../kernels/contraction/variants";
import type { TunedEntry, Variant } from "./table";

/** What the compiler asks of a family and what it may answer. */
interface TunedFamily<P extends object, V extends object> {
  readonly name: string;
  /** Goes up whenever the kernels of known variants change so much that old measurements mislead. */
  readonly version: number;
  /** Everything valid for a problem, the heuristic's choice first. */
  variants(problem: P, target: CompileTarget): readonly V[];
  /** Terms of the longest sum, which bounds how far two variants may differ. */
  terms(problem: P): number;
  /** A target on which `choose` decides; where it returns undefined, heuristics do. */
  hook(target: CompileTarget, choose: (problem: P) => V | undefined): CompileTarget;
}

/** A question that the compiler asked while it lowered a cluster. */
export interface Question {
  /** The class of the problem: the key of the table. */
  readonly key: string;
  readonly terms: number;
  /** The answers, the heuristic's first. */
  readonly variants: readonly Variant[];
  /** A target on which this class has the given answer; everything else is as on the target of the question. */
  readonly forced: (variant: Variant) => CompileTarget;
}

const contraction: TunedFamily<ContractionProblem, ContractionVariant> = {
  name: "contraction",
  version: 1,
  variants: contractionVariants,
  terms: ({ depth }) => depth,
  hook: (target, choose) => ({
    ...target,
    chooseContraction: (problem) => choose(problem) ?? target.chooseContraction?.(problem),
  }),
};

// The members of the list have problems and variants of their own; here they are plain data.
const families = [contraction] as unknown as readonly TunedFamily<object, Variant>[];

/**
 * The class of a problem: numbers by their power of two, everything else as it is. Problems of one class share a
 * measurement.
 */
export function classKey(
  { name, version }: { readonly name: string; readonly version: number },
  problem: object,
): string {
  return `${name}.${version} ${describeClass(problem)}`;
}

function describeClass(value: unknown): string {
  if (typeof value === "number") return value > 0 ? `2^${Math.floor(Math.log2(value))}` : String(value);
  if (typeof value !== "object" || value === null) return String(value);
  const parts = Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, part]) => `${name}:${describeClass(part)}`);
  return `{${parts.join(",")}}`;
}

const sameVariant = (a: Variant, b: Variant): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

const sorted = (variant: Variant): [string, unknown][] => Object.entries(variant).sort(([a], [b]) => (a < b ? -1 : 1));

/**
 * A target that takes its variants from a table. An entry that the engine would not offer for the problem at hand (of
 * another version, or of a neighbour in the class with other divisors) is passed over.
 */
export function tunedTarget(target: CompileTarget, entries: ReadonlyMap<string, TunedEntry>): CompileTarget {
  return families.reduce(
    (own, family) =>
      family.hook(own, (problem) => {
        const entry = entries.get(classKey(family, problem));
        return entry && family.variants(problem, target).find((offered) => sameVariant(offered, entry.variant));
      }),
    target,
  );
}

/**
 * A target that answers as heuristics do and notes what it was asked, each class once.
 *
 * @param base the target without a table.
 */
export function askingTarget(base: CompileTarget): { readonly target: CompileTarget; readonly asked: Question[] } {
  const asked: Question[] = [];
  const target = families.reduce(
    (own, family) =>
      family.hook(own, (problem) => {
        const key = classKey(family, problem);
        if (asked.some((question) => question.key === key)) return undefined;
        asked.push({
          key,
          terms: family.terms(problem),
          variants: family.variants(problem, base),
          forced: (variant) => family.hook(base, (other) => (classKey(family, other) === key ? variant : undefined)),
        });
        return undefined;
      }),
    base,
  );
  return { target, asked };
}
