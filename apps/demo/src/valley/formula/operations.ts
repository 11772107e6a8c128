import type { Tensor } from "@thalweg/tensor";

/** What an operation is applied to on the device: constants stay numbers. */
export type Term = Tensor | number;

/** Of one argument: value, first and second derivative in float64, and the same on the device. */
interface UnaryOperation {
  readonly arity: 1;
  readonly value: (a: number) => number;
  readonly first: (a: number) => number;
  readonly second: (a: number) => number;
  readonly tensor: (a: Tensor) => Tensor;
}

/** Of two arguments: value and partial derivatives up to the second order in float64, and the same on the device. */
interface BinaryOperation {
  readonly arity: 2;
  readonly value: (a: number, b: number) => number;
  readonly byA: (a: number, b: number) => number;
  readonly byB: (a: number, b: number) => number;
  readonly byAA: (a: number, b: number) => number;
  readonly byAB: (a: number, b: number) => number;
  readonly byBB: (a: number, b: number) => number;
  /** At least one of the two is a tensor. */
  readonly tensor: (a: Term, b: Term) => Tensor;
}

const zero = () => 0;
const one = () => 1;

/** The left operand as a tensor, like the right one if it is a number. */
const onLeft =
  (name: "add" | "sub" | "mul" | "div" | "pow" | "minimum" | "maximum") =>
  (a: Term, b: Term): Tensor =>
    // One of the two is a tensor: constants are folded before.
    (typeof a === "number" ? (b as Tensor).fullLike(a) : a)[name](b);

/** c a^e, where 0 times infinity is 0: derivatives of low powers vanish at 0 too. */
const scaledPower = (c: number, a: number, e: number): number => (c === 0 ? 0 : c * a ** e);

const unaryOperations = {
  negate: { arity: 1, value: (a) => -a, first: () => -1, second: zero, tensor: (a) => a.neg() },
  sin: { arity: 1, value: Math.sin, first: Math.cos, second: (a) => -Math.sin(a), tensor: (a) => a.sin() },
  cos: {
    arity: 1,
    value: Math.cos,
    first: (a) => -Math.sin(a),
    second: (a) => -Math.cos(a),
    tensor: (a) => a.cos(),
  },
  tan: {
    arity: 1,
    value: Math.tan,
    first: (a) => 1 + Math.tan(a) ** 2,
    second: (a) => 2 * Math.tan(a) * (1 + Math.tan(a) ** 2),
    tensor: (a) => a.tan(),
  },
  exp: { arity: 1, value: Math.exp, first: Math.exp, second: Math.exp, tensor: (a) => a.exp() },
  log: { arity: 1, value: Math.log, first: (a) => 1 / a, second: (a) => -1 / a ** 2, tensor: (a) => a.log() },
  sqrt: {
    arity: 1,
    value: Math.sqrt,
    first: (a) => 0.5 / Math.sqrt(a),
    second: (a) => -0.25 / (a * Math.sqrt(a)),
    tensor: (a) => a.sqrt(),
  },
  abs: { arity: 1, value: Math.abs, first: Math.sign, second: zero, tensor: (a) => a.abs() },
  tanh: {
    arity: 1,
    value: Math.tanh,
    first: (a) => 1 - Math.tanh(a) ** 2,
    second: (a) => -2 * Math.tanh(a) * (1 - Math.tanh(a) ** 2),
    tensor: (a) => a.tanh(),
  },
  sinh: {
    arity: 1,
    value: Math.sinh,
    first: Math.cosh,
    second: Math.sinh,
    tensor: (a) => a.exp().sub(a.neg().exp()).mul(0.5),
  },
  cosh: {
    arity: 1,
    value: Math.cosh,
    first: Math.sinh,
    second: Math.cosh,
    tensor: (a) => a.exp().add(a.neg().exp()).mul(0.5),
  },
} as const satisfies Readonly<Record<string, UnaryOperation>>;

const binaryOperations = {
  add: {
    arity: 2,
    value: (a, b) => a + b,
    byA: one,
    byB: one,
    byAA: zero,
    byAB: zero,
    byBB: zero,
    tensor: onLeft("add"),
  },
  subtract: {
    arity: 2,
    value: (a, b) => a - b,
    byA: one,
    byB: () => -1,
    byAA: zero,
    byAB: zero,
    byBB: zero,
    tensor: onLeft("sub"),
  },
  multiply: {
    arity: 2,
    value: (a, b) => a * b,
    byA: (_, b) => b,
    byB: (a) => a,
    byAA: zero,
    byAB: one,
    byBB: zero,
    tensor: onLeft("mul"),
  },
  divide: {
    arity: 2,
    value: (a, b) => a / b,
    byA: (_, b) => 1 / b,
    byB: (a, b) => -a / b ** 2,
    byAA: zero,
    byAB: (_, b) => -1 / b ** 2,
    byBB: (a, b) => (2 * a) / b ** 3,
    tensor: onLeft("div"),
  },
  power: {
    arity: 2,
    value: (a, b) => a ** b,
    byA: (a, b) => scaledPower(b, a, b - 1),
    byB: (a, b) => a ** b * Math.log(a),
    byAA: (a, b) => scaledPower(b * (b - 1), a, b - 2),
    byAB: (a, b) => a ** (b - 1) * (1 + b * Math.log(a)),
    byBB: (a, b) => a ** b * Math.log(a) ** 2,
    tensor: onLeft("pow"),
  },
  min: {
    arity: 2,
    value: Math.min,
    byA: (a, b) => Number(a <= b),
    byB: (a, b) => Number(a > b),
    byAA: zero,
    byAB: zero,
    byBB: zero,
    tensor: onLeft("minimum"),
  },
  max: {
    arity: 2,
    value: Math.max,
    byA: (a, b) => Number(a >= b),
    byB: (a, b) => Number(a < b),
    byAA: zero,
    byAB: zero,
    byBB: zero,
    tensor: onLeft("maximum"),
  },
} as const satisfies Readonly<Record<string, BinaryOperation>>;

/**
 * Everything that a formula can do, one record each: values and derivatives in float64 for the terrain, and tensor
 * operations for the optimizers, whose gradients the engine derives by itself.
 */
export const operations: Readonly<Record<OperationName, UnaryOperation | BinaryOperation>> = {
  ...unaryOperations,
  ...binaryOperations,
};

export type OperationName = keyof typeof unaryOperations | keyof typeof binaryOperations;

/** What is written as a call, with the fewest operands. */
export const functions = [
  "sin",
  "cos",
  "tan",
  "exp",
  "log",
  "sqrt",
  "abs",
  "tanh",
  "sinh",
  "cosh",
  "min",
  "max",
] as const;
