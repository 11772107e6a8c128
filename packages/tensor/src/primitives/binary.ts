import { computeType, type DType } from "../dtype";
import { swapOrNot, threefry2x32 } from "../reference/threefry";
import type { Tensor } from "../tensor";
import type { ExpressionContext, Primitive, RuleContext } from "./definition";
import { elementwise, type Partial } from "./families";

interface BinarySpec {
  readonly name: string;
  readonly takes?: "float" | "number" | "integer" | "bool" | "any";
  readonly gives?: DType;
  wgsl(a: string, b: string, context: ExpressionContext): string;
  reference(a: number, b: number, dtype: DType): number;
  readonly derivatives: readonly ((t: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor)[] | null;
  readonly cost?: number;
  readonly domains?: readonly (readonly [number, number])[];
  readonly distinct?: boolean;
  readonly neutral?: { readonly left?: number; readonly right?: number };
}

function binary(spec: BinarySpec): Primitive<undefined> {
  const partials = spec.derivatives?.map(
    (derivative): Partial<undefined> =>
      (t, { inputs, output }: RuleContext<undefined>) =>
        derivative(t, inputs[0] as Tensor, inputs[1] as Tensor, output),
  );
  return elementwise<undefined>({
    name: spec.name,
    arity: 2,
    takes: spec.takes ?? "number",
    ...(spec.gives && { gives: spec.gives }),
    expression: (args, context) => spec.wgsl(args[0] as string, args[1] as string, context),
    reference: (args, _params, dtype) => spec.reference(args[0] as number, args[1] as number, dtype),
    partials: partials ?? null,
    cost: spec.cost ?? 1,
    ...(spec.domains && { domains: spec.domains }),
    distinct: spec.distinct ?? false,
    ...(spec.neutral && { neutral: spec.neutral }),
    sampleParams: undefined,
  });
}

const wrap = (value: number, dtype: DType): number =>
  dtype === "i32" ? value | 0 : dtype === "u32" ? value >>> 0 : value;

const infix =
  (operator: string) =>
  (a: string, b: string): string =>
    `(${a} ${operator} ${b})`;

export const add = binary({
  name: "add",
  wgsl: infix("+"),
  reference: (a, b, dtype) => wrap(a + b, dtype),
  derivatives: [(t) => t, (t) => t],
  neutral: { left: 0, right: 0 },
});

export const sub = binary({
  name: "sub",
  wgsl: infix("-"),
  reference: (a, b, dtype) => wrap(a - b, dtype),
  derivatives: [(t) => t, (t) => t.neg()],
  neutral: { right: 0 },
});

export const mul = binary({
  name: "mul",
  wgsl: infix("*"),
  reference: (a, b, dtype) => (dtype === "i32" || dtype === "u32" ? wrap(Math.imul(a, b), dtype) : a * b),
  derivatives: [(t, _a, b) => t.mul(b), (t, a) => t.mul(a)],
  neutral: { left: 1, right: 1 },
});

/** Integers: truncated; division by 0 gives the numerator, as WGSL has it. */
export const div = binary({
  name: "div",
  wgsl: infix("/"),
  reference: (a, b, dtype) =>
    dtype === "i32" || dtype === "u32" ? (b === 0 ? a : wrap(Math.trunc(a / b), dtype)) : a / b,
  derivatives: [(t, _a, b) => t.div(b), (t, _a, b, y) => t.mul(y.neg().div(b))],
  neutral: { right: 1 },
  cost: 2,
  domains: [
    [-2, 2],
    [0.3, 3],
  ],
});

/** a - b·trunc(a / b), with the sign of a. */
export const rem = binary({
  name: "rem",
  wgsl: infix("%"),
  reference: (a, b, dtype) => (b === 0 && (dtype === "i32" || dtype === "u32") ? 0 : wrap(a % b, dtype)),
  derivatives: [(t) => t, (t, a, b) => t.mul(truncate(a.div(b)).neg())],
  cost: 4,
  domains: [
    [-2, 2],
    [2.5, 3],
  ],
});

const truncate = (x: Tensor): Tensor => x.abs().floor().mul(x.sign());

/** a to the power b; a negative base takes integer exponents only (otherwise NaN). */
export const pow = binary({
  name: "pow",
  takes: "float",
  wgsl: (a, b, context) => context.call("pow_accurate", a, b),
  reference: (a, b) => a ** b,
  derivatives: [
    (t, a, b) => t.mul(b.mul(a.pow(b.sub(1)))),
    // d(a^b)/db = a^b log a; where a is 0 the power vanishes faster than the logarithm grows.
    (t, a, _b, y) => t.mul(y.mul(a.greater(0).where(a, 1).log())),
  ],
  cost: 40,
  domains: [
    [0.2, 3],
    [-2, 2],
  ],
});

/** NaN where an operand is NaN: the builtins may give the other one. */
const extreme =
  (name: "max" | "min") =>
  (a: string, b: string, context: ExpressionContext): string =>
    computeType[context.output] === "f32" ? context.call(`${name}_or_nan`, a, b) : `${name}(${a}, ${b})`;

/** At ties each operand gets half of the derivative. */
export const maximum = binary({
  name: "maximum",
  wgsl: extreme("max"),
  reference: (a, b) => Math.max(a, b),
  derivatives: [(t, a, b) => share(t, a.greater(b), a.equal(b)), (t, a, b) => share(t, b.greater(a), a.equal(b))],
  distinct: true,
});

export const minimum = binary({
  name: "minimum",
  wgsl: extreme("min"),
  reference: (a, b) => Math.min(a, b),
  derivatives: [(t, a, b) => share(t, a.less(b), a.equal(b)), (t, a, b) => share(t, b.less(a), a.equal(b))],
  distinct: true,
});

const share = (t: Tensor, wins: Tensor, ties: Tensor): Tensor => wins.where(t, ties.where(t.mul(0.5), 0));

function comparison(
  name: string,
  operator: string,
  reference: (a: number, b: number) => boolean,
): Primitive<undefined> {
  return binary({
    name,
    takes: "any",
    gives: "bool",
    wgsl: (a, b, { inputs, width }) =>
      inputs[0] === "bool" ? compareBooleans(a, b, operator, width) : `(${a} ${operator} ${b})`,
    reference: (a, b) => (reference(a, b) ? 1 : 0),
    derivatives: null,
  });
}

/** WGSL orders no booleans: compare them as 0 and 1. */
const compareBooleans = (a: string, b: string, operator: string, width: 1 | 4): string => {
  const type = width === 4 ? "vec4<u32>" : "u32";
  return `(${type}(${a}) ${operator} ${type}(${b}))`;
};

export const equal = comparison("equal", "==", (a, b) => a === b);
export const notEqual = comparison("notEqual", "!=", (a, b) => a !== b);
export const less = comparison("less", "<", (a, b) => a < b);
export const lessEqual = comparison("lessEqual", "<=", (a, b) => a <= b);
export const greater = comparison("greater", ">", (a, b) => a > b);
export const greaterEqual = comparison("greaterEqual", ">=", (a, b) => a >= b);

export const and = binary({
  name: "and",
  takes: "bool",
  wgsl: infix("&"),
  reference: (a, b) => a & b,
  derivatives: null,
});

export const or = binary({
  name: "or",
  takes: "bool",
  wgsl: infix("|"),
  reference: (a, b) => a | b,
  derivatives: null,
});

export const xor = binary({
  name: "xor",
  takes: "bool",
  wgsl: infix("!="),
  reference: (a, b) => a ^ b,
  derivatives: null,
});

const bits = [
  [0, 60000],
  [0, 60000],
] as const;

export const bitAnd = binary({
  name: "bitAnd",
  takes: "integer",
  wgsl: infix("&"),
  reference: (a, b, dtype) => wrap(a & b, dtype),
  derivatives: null,
  domains: bits,
});

export const bitOr = binary({
  name: "bitOr",
  takes: "integer",
  wgsl: infix("|"),
  reference: (a, b, dtype) => wrap(a | b, dtype),
  derivatives: null,
  domains: bits,
});

export const bitXor = binary({
  name: "bitXor",
  takes: "integer",
  wgsl: infix("^"),
  reference: (a, b, dtype) => wrap(a ^ b, dtype),
  derivatives: null,
  domains: bits,
});

const shiftAmount = (b: string, width: 1 | 4): string =>
  width === 4 ? `(vec4<u32>(${b}) & vec4<u32>(31u))` : `(u32(${b}) & 31u)`;

export const shiftLeft = binary({
  name: "shiftLeft",
  takes: "integer",
  wgsl: (a, b, { width }) => `(${a} << ${shiftAmount(b, width)})`,
  reference: (a, b, dtype) => wrap(a << b, dtype),
  derivatives: null,
  domains: [
    [0, 60000],
    [0, 31],
  ],
});

/** Fills with the sign for i32 and with zeros for u32. */
export const shiftRight = binary({
  name: "shiftRight",
  takes: "integer",
  wgsl: (a, b, { width }) => `(${a} >> ${shiftAmount(b, width)})`,
  reference: (a, b, dtype) => (dtype === "u32" ? a >>> b : a >> b),
  derivatives: null,
  domains: [
    [0, 60000],
    [0, 31],
  ],
});

/** Which of the two words of a Threefry block, or their exclusive or. */
export type ThreefryWord = "first" | "second" | "xor";

/**
 * Threefry2x32-20: a counter-based generator, integers only, hence equal bits on every adapter.
 * Arguments: the two words of the key, the two words of the counter.
 *
 * @see Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011)
 */
export const threefry = elementwise<{ readonly word: ThreefryWord }>({
  name: "threefry",
  arity: 4,
  takes: "u32",
  expression: (args, { call }, { word }) => call(`threefry_${word}`, ...args),
  reference: (args, { word }) => {
    const [first, second] = threefry2x32(args as unknown as [number, number, number, number]);
    return word === "first" ? first : word === "second" ? second : (first ^ second) >>> 0;
  },
  partials: null,
  cost: 120,
  domains: [
    [0, 60000],
    [0, 60000],
    [0, 60000],
    [0, 60000],
  ],
  sampleParams: { word: "xor" },
});

/**
 * Where the swap-or-not shuffle of 0 … count - 1 sends a position. Arguments: the two words of the key, the position.
 *
 * @see Hoang, Morris and Rogaway, An enciphering scheme based on a card shuffle (CRYPTO 2012)
 */
export const shuffle = elementwise<{ readonly count: number }>({
  name: "shuffle",
  arity: 3,
  takes: "u32",
  expression: ([first, second, position], { call, literal }, { count }) =>
    call("swap_or_not", first as string, second as string, position as string, literal(count, "u32")),
  reference: ([first, second, position], { count }) =>
    swapOrNot(first as number, second as number, position as number, count),
  partials: null,
  cost: 10_000,
  domains: [
    [0, 60000],
    [0, 60000],
    [0, 999],
  ],
  sampleParams: { count: 1000 },
});
