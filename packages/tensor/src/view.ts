/**
 * Integer index expressions: how a view finds its element.
 *
 * A movement operation maps the coordinates of its output to coordinates of its input. Composing such maps and
 * simplifying the result is what makes views free: a reader computes one index, and no intermediate tensor exists.
 *
 * An {@link Index} is a sum of integer multiples of atoms plus a constant. Division and remainder are floor division
 * and its remainder; the rules below are identities of floor arithmetic, so they hold for negative values too.
 */

/** A term's indivisible part. */
export type Atom =
  | { readonly kind: "variable"; readonly key: string; readonly low: number; readonly high: number }
  | { readonly kind: "quotient"; readonly key: string; readonly of: Index; readonly divisor: number }
  | { readonly kind: "remainder"; readonly key: string; readonly of: Index; readonly divisor: number };

export interface Term {
  readonly factor: number;
  readonly atom: Atom;
}

export interface Index {
  readonly terms: readonly Term[];
  readonly constant: number;
  /** Smallest and largest value, both attained or overestimated. */
  readonly low: number;
  readonly high: number;
  readonly key: string;
}

/** A condition on an index: inside `[low, high)`, or divisible by `divisor`. */
export type Guard =
  | { readonly kind: "range"; readonly index: Index; readonly low: number; readonly high: number }
  | { readonly kind: "divisible"; readonly index: Index; readonly divisor: number };

function atomBounds(atom: Atom): [number, number] {
  switch (atom.kind) {
    case "variable":
      return [atom.low, atom.high];
    case "quotient":
      return [Math.floor(atom.of.low / atom.divisor), Math.floor(atom.of.high / atom.divisor)];
    case "remainder":
      return [0, atom.divisor - 1];
  }
}

/** An index whose key is written when it is first asked for: most indices are steps on the way to another one. */
class Sum implements Index {
  readonly terms: readonly Term[];
  readonly constant: number;
  readonly low: number;
  readonly high: number;
  #key: string | undefined;

  constructor(terms: readonly Term[], constant: number) {
    let low = constant;
    let high = constant;
    for (const { factor, atom } of terms) {
      const [a, b] = atomBounds(atom);
      low += factor > 0 ? factor * a : factor * b;
      high += factor > 0 ? factor * b : factor * a;
    }
    this.terms = terms;
    this.constant = constant;
    this.low = low;
    this.high = high;
  }

  get key(): string {
    if (this.#key === undefined) {
      let key = "";
      for (const { factor, atom } of this.terms) key += `${key === "" ? "" : "+"}${factor}*${atom.key}`;
      this.#key = `${key}+${this.constant}`;
    }
    return this.#key;
  }
}

const make = (terms: readonly Term[], constant: number): Index => new Sum(terms, constant);

/** The position of an atom among terms, or -1. Sums have few terms: looking at all of them is faster than a map. */
const findAtom = (terms: readonly Term[], atom: Atom): number =>
  terms.findIndex((term) => term.atom === atom || term.atom.key === atom.key);

function addTerm(terms: Term[], factor: number, atom: Atom): void {
  const at = findAtom(terms, atom);
  if (at < 0) {
    terms.push({ factor, atom });
    return;
  }
  const total = (terms[at] as Term).factor + factor;
  if (total === 0) terms.splice(at, 1);
  else terms[at] = { factor: total, atom };
}

/** Adds up equal atoms, and turns `d·(x div d) + (x mod d)` back into `x`. */
function collect(terms: readonly Term[], constant: number): Index {
  if (terms.length <= 1) return make(terms, constant);
  const sum: Term[] = [];
  for (const { factor, atom } of terms) addTerm(sum, factor, atom);
  let total = constant;
  for (let pair = findPair(sum); pair !== undefined; pair = findPair(sum)) {
    const { remainder, quotient } = pair;
    const { factor, atom } = remainder;
    sum.splice(sum.indexOf(remainder), 1);
    sum.splice(sum.indexOf(quotient), 1);
    for (const term of atom.of.terms) addTerm(sum, term.factor * factor, term.atom);
    total += atom.of.constant * factor;
  }
  sum.sort((a, b) => (a.atom.key < b.atom.key ? -1 : a.atom.key > b.atom.key ? 1 : 0));
  return make(sum, total);
}

type Remainder = Extract<Atom, { readonly kind: "remainder" }>;

/** A remainder and the matching quotient, if both are among the terms. */
function findPair(
  terms: readonly Term[],
): { readonly remainder: { readonly factor: number; readonly atom: Remainder }; readonly quotient: Term } | undefined {
  if (terms.length < 2) return undefined;
  for (const term of terms) {
    const { factor, atom } = term;
    if (atom.kind !== "remainder") continue;
    if (!terms.some((other) => other.factor === factor * atom.divisor)) continue;
    // The quotient in its simplified form: the one of (p div 4) by 3 is p div 12.
    const whole = divideIndex(atom.of, atom.divisor);
    const only = whole.constant === 0 && whole.terms.length === 1 ? whole.terms[0] : undefined;
    const quotient = only?.factor === 1 ? terms[findAtom(terms, only.atom)] : undefined;
    if (quotient === undefined || quotient.factor !== factor * atom.divisor) continue;
    return { remainder: term as { factor: number; atom: Remainder }, quotient };
  }
  return undefined;
}

const quotientKey = (of: Index, divisor: number): string => `(${of.key}/${divisor})`;
const remainderKey = (of: Index, divisor: number): string => `(${of.key}%${divisor})`;

export const constantIndex = (value: number): Index => make([], value);

/** A variable that takes the values `low` to `high`, both included. */
export const variableIndex = (name: string, low: number, high: number): Index =>
  low === high ? constantIndex(low) : make([{ factor: 1, atom: { kind: "variable", key: name, low, high } }], 0);

export function addIndex(...parts: readonly Index[]): Index {
  const terms: Term[] = [];
  let constant = 0;
  for (const part of parts) {
    for (const term of part.terms) terms.push(term);
    constant += part.constant;
  }
  return collect(terms, constant);
}

export function scaleIndex(index: Index, factor: number): Index {
  if (factor === 0) return constantIndex(0);
  if (factor === 1) return index;
  return make(
    index.terms.map((term) => ({ factor: term.factor * factor, atom: term.atom })),
    index.constant * factor,
  );
}

export const offsetIndex = (index: Index, offset: number): Index => make(index.terms, index.constant + offset);

/** Splits into the part whose factors are multiples of `divisor`, divided by it, and the rest. */
function extract(index: Index, divisor: number): { whole: Index; rest: Index } {
  const whole: Term[] = [];
  const rest: Term[] = [];
  for (const term of index.terms) {
    if (term.factor % divisor === 0) whole.push({ factor: term.factor / divisor, atom: term.atom });
    else rest.push(term);
  }
  const constant = Math.floor(index.constant / divisor);
  return { whole: make(whole, constant), rest: make(rest, index.constant - constant * divisor) };
}

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? Math.abs(a) : greatestCommonDivisor(b, a % b);

/**
 * `index = g·coarse + fine` with `0 <= fine < g` for a `g > 1` that divides `divisor`; then both quotient and remainder
 * by `divisor` are those of `coarse` by `divisor / g`.
 */
function coarsen(index: Index, divisor: number): { g: number; coarse: Index; fine: Index } | undefined {
  const candidates: number[] = [];
  for (const { factor } of index.terms) {
    const g = greatestCommonDivisor(factor, divisor);
    if (g > 1 && !candidates.includes(g)) candidates.push(g);
  }
  for (const g of candidates.sort((a, b) => b - a)) {
    const { whole, rest } = extract(index, g);
    if (rest.low >= 0 && rest.high < g) return { g, coarse: whole, fine: rest };
  }
  return undefined;
}

/** Floor division by a positive integer. */
export function divideIndex(index: Index, divisor: number): Index {
  if (divisor === 1) return index;
  const { whole, rest } = extract(index, divisor);
  return addIndex(whole, quotientOfRest(rest, divisor));
}

function quotientOfRest(rest: Index, divisor: number): Index {
  if (rest.low >= 0 && rest.high < divisor) return constantIndex(0);
  const parts = coarsen(rest, divisor);
  if (parts !== undefined) return divideIndex(parts.coarse, divisor / parts.g);
  const only = rest.constant === 0 && rest.terms.length === 1 ? rest.terms[0] : undefined;
  if (only !== undefined && only.factor === 1) {
    const { atom } = only;
    if (atom.kind === "quotient") return divideIndex(atom.of, atom.divisor * divisor);
    if (atom.kind === "remainder" && atom.divisor % divisor === 0) {
      return remainderIndex(divideIndex(atom.of, divisor), atom.divisor / divisor);
    }
  }
  const low = Math.floor(rest.low / divisor);
  if (low === Math.floor(rest.high / divisor)) return constantIndex(low);
  return make([{ factor: 1, atom: { kind: "quotient", key: quotientKey(rest, divisor), of: rest, divisor } }], 0);
}

/** The remainder of floor division by a positive integer, in `[0, divisor)`. */
export function remainderIndex(index: Index, divisor: number): Index {
  if (divisor === 1) return constantIndex(0);
  const { rest } = extract(index, divisor);
  if (rest.low >= 0 && rest.high < divisor) return rest;
  const parts = coarsen(rest, divisor);
  if (parts !== undefined) {
    return addIndex(scaleIndex(remainderIndex(parts.coarse, divisor / parts.g), parts.g), parts.fine);
  }
  const only = rest.constant === 0 && rest.terms.length === 1 ? rest.terms[0] : undefined;
  if (only !== undefined && only.factor === 1 && only.atom.kind === "remainder" && only.atom.divisor % divisor === 0) {
    return remainderIndex(only.atom.of, divisor);
  }
  const quotient = Math.floor(rest.low / divisor);
  if (quotient === Math.floor(rest.high / divisor)) return offsetIndex(rest, -quotient * divisor);
  return make([{ factor: 1, atom: { kind: "remainder", key: remainderKey(rest, divisor), of: rest, divisor } }], 0);
}

/** Replaces variables by name and simplifies again. */
export function substitute(index: Index, replacements: ReadonlyMap<string, Index>): Index {
  if (!mentions(index, replacements)) return index;
  const replaceAtom = (atom: Atom): Index => {
    switch (atom.kind) {
      case "variable":
        return replacements.get(atom.key) ?? make([{ factor: 1, atom }], 0);
      case "quotient":
        return divideIndex(substitute(atom.of, replacements), atom.divisor);
      case "remainder":
        return remainderIndex(substitute(atom.of, replacements), atom.divisor);
    }
  };
  return addIndex(
    constantIndex(index.constant),
    ...index.terms.map(({ factor, atom }) => scaleIndex(replaceAtom(atom), factor)),
  );
}

const mentions = (index: Index, names: { has(name: string): boolean }): boolean =>
  index.terms.some(({ atom }) => (atom.kind === "variable" ? names.has(atom.key) : mentions(atom.of, names)));

/** Does the value depend on the variable? */
export const dependsOn = (index: Index, name: string): boolean => mentions(index, { has: (other) => other === name });

/**
 * The factor with which the variable enters if it enters linearly; 0 if it does not enter; undefined otherwise.
 */
export function linearFactor(index: Index, name: string): number | undefined {
  let factor = 0;
  for (const term of index.terms) {
    if (term.atom.kind === "variable") {
      if (term.atom.key === name) factor += term.factor;
    } else if (dependsOn(term.atom.of, name)) return undefined;
  }
  return factor;
}

/** Is every factor, and the constant, a multiple of `divisor`? Then so is the value. */
export const isMultipleOf = (index: Index, divisor: number): boolean =>
  index.constant % divisor === 0 && index.terms.every(({ factor }) => factor % divisor === 0);

/** Row-major position of coordinates in a shape. */
export function linearize(coordinates: readonly Index[], shape: readonly number[]): Index {
  let stride = 1;
  const parts: Index[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    parts.push(scaleIndex(coordinates[axis] as Index, stride));
    stride *= shape[axis] as number;
  }
  return addIndex(...parts);
}

/** Coordinates of a row-major position in a shape. */
export function delinearize(position: Index, shape: readonly number[]): Index[] {
  const coordinates = new Array<Index>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const extent = shape[axis] as number;
    // The outermost coordinate needs no remainder: a position is always inside of the shape.
    const quotient = divideIndex(position, stride);
    coordinates[axis] = extent === 1 ? constantIndex(0) : axis === 0 ? quotient : remainderIndex(quotient, extent);
    stride *= extent;
  }
  return coordinates;
}

/** The range guard, or undefined if the bounds already prove it. */
export const rangeGuard = (index: Index, low: number, high: number): Guard | undefined =>
  index.low >= low && index.high < high ? undefined : { kind: "range", index, low, high };

/** The divisibility guard, or undefined if the form already proves it. */
export const divisibleGuard = (index: Index, divisor: number): Guard | undefined => {
  const rest = remainderIndex(index, divisor);
  return rest.terms.length === 0 && rest.constant === 0 ? undefined : { kind: "divisible", index, divisor };
};

/** The value for given values of the variables; the reference that tests compare simplified indices with. */
export function evaluateIndex(index: Index, values: ReadonlyMap<string, number>): number {
  const evaluateAtom = (atom: Atom): number => {
    if (atom.kind === "variable") return values.get(atom.key) ?? Number.NaN;
    const inner = evaluateIndex(atom.of, values);
    const quotient = Math.floor(inner / atom.divisor);
    return atom.kind === "quotient" ? quotient : inner - quotient * atom.divisor;
  };
  return index.terms.reduce((sum, { factor, atom }) => sum + factor * evaluateAtom(atom), index.constant);
}
