import { computeType, type DType } from "../dtype";
import { erfInv as erfInvReference, erf as erfReference } from "../reference/special";
import type { Tensor } from "../tensor";
import type { ExpressionContext, Primitive, RuleContext } from "./definition";
import { elementwise, type Partial } from "./families";

interface UnarySpec {
  readonly name: string;
  readonly takes?: "float" | "number" | "integer" | "bool";
  readonly gives?: DType;
  wgsl(x: string, context: ExpressionContext): string;
  reference(x: number, dtype: DType): number;
  /** `t` times the derivative at `x`, where the value is `y`. */
  readonly derivative: ((t: Tensor, x: Tensor, y: Tensor) => Tensor) | null;
  readonly cost?: number;
  readonly domain?: readonly [number, number];
  readonly distinct?: boolean;
}

function unary(spec: UnarySpec): Primitive<undefined> {
  const { derivative } = spec;
  const partial: Partial<undefined> | null =
    derivative && ((t, { inputs, output }: RuleContext<undefined>) => derivative(t, inputs[0] as Tensor, output));
  return elementwise<undefined>({
    name: spec.name,
    arity: 1,
    takes: spec.takes ?? "float",
    ...(spec.gives && { gives: spec.gives }),
    expression: (args, context) => spec.wgsl(args[0] as string, context),
    reference: (args, _params, dtype) => spec.reference(args[0] as number, dtype),
    partials: partial && [partial],
    cost: spec.cost ?? 1,
    ...(spec.domain && { domains: [spec.domain] }),
    distinct: spec.distinct ?? false,
    sampleParams: undefined,
  });
}

/** A function with an own, accurate implementation in kernels/math.wgsl.ts under the same name. */
const called =
  (name: string) =>
  (x: string, context: ExpressionContext): string =>
    context.call(name, x);

const wrap = (value: number, dtype: DType): number =>
  dtype === "i32" ? value | 0 : dtype === "u32" ? value >>> 0 : value;

export const neg = unary({
  name: "neg",
  takes: "number",
  wgsl: (x, { output, width }) =>
    output === "u32" ? (width === 4 ? `(vec4<u32>(0u) - ${x})` : `(0u - ${x})`) : `(-${x})`,
  reference: (x, dtype) => wrap(-x, dtype),
  derivative: (t) => t.neg(),
});

export const abs = unary({
  name: "abs",
  takes: "number",
  wgsl: (x) => `abs(${x})`,
  reference: (x, dtype) => wrap(Math.abs(x), dtype),
  derivative: (t, x) => t.mul(x.sign()),
  distinct: true,
});

export const sign = unary({
  name: "sign",
  takes: "float",
  wgsl: (x) => `sign(${x})`,
  reference: Math.sign,
  derivative: null,
  distinct: true,
});

export const floor = unary({
  name: "floor",
  wgsl: (x) => `floor(${x})`,
  reference: Math.floor,
  derivative: null,
});

export const ceil = unary({ name: "ceil", wgsl: (x) => `ceil(${x})`, reference: Math.ceil, derivative: null });

/** To the nearest integer, ties to even. */
export const round = unary({
  name: "round",
  wgsl: (x) => `round(${x})`,
  reference: (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)),
  derivative: null,
});

export const exp = unary({
  name: "exp",
  wgsl: called("exp_accurate"),
  reference: Math.exp,
  derivative: (t, _x, y) => t.mul(y),
  cost: 16,
});

export const expm1 = unary({
  name: "expm1",
  wgsl: called("expm1_accurate"),
  reference: Math.expm1,
  derivative: (t, _x, y) => t.mul(y.add(1)),
  cost: 30,
});

export const log = unary({
  name: "log",
  wgsl: called("log_accurate"),
  reference: Math.log,
  derivative: (t, x) => t.div(x),
  cost: 20,
  domain: [0.05, 4],
});

export const log1p = unary({
  name: "log1p",
  wgsl: called("log1p_accurate"),
  reference: Math.log1p,
  derivative: (t, x) => t.div(x.add(1)),
  cost: 26,
  domain: [-0.9, 4],
});

export const sin = unary({
  name: "sin",
  wgsl: called("sin_accurate"),
  reference: Math.sin,
  derivative: (t, x) => t.mul(x.cos()),
  cost: 20,
  domain: [-10, 10],
});

export const cos = unary({
  name: "cos",
  wgsl: called("cos_accurate"),
  reference: Math.cos,
  derivative: (t, x) => t.mul(x.sin().neg()),
  cost: 20,
  domain: [-10, 10],
});

export const tanh = unary({
  name: "tanh",
  wgsl: called("tanh_accurate"),
  reference: Math.tanh,
  derivative: (t, _x, y) => t.mul(y.mul(y).neg().add(1)),
  cost: 24,
  domain: [-4, 4],
});

export const sqrt = unary({
  name: "sqrt",
  wgsl: called("sqrt_accurate"),
  reference: Math.sqrt,
  derivative: (t, _x, y) => t.div(y.mul(2)),
  cost: 4,
  domain: [0.1, 4],
});

/** 1 / sqrt(x). */
export const rsqrt = unary({
  name: "rsqrt",
  wgsl: called("rsqrt_accurate"),
  reference: (x) => 1 / Math.sqrt(x),
  derivative: (t, _x, y) => t.mul(y.mul(y).mul(y).mul(-0.5)),
  cost: 6,
  domain: [0.1, 4],
});

export const reciprocal = unary({
  name: "reciprocal",
  wgsl: (x) => `(1.0 / ${x})`,
  reference: (x) => 1 / x,
  derivative: (t, _x, y) => t.mul(y.mul(y).neg()),
  cost: 2,
  domain: [0.2, 4],
});

/**
 * max(x, 0); the derivative at 0 is 0. Known from the output alone, so that no pre-activation needs to be kept. NaN stays NaN,
 * where max(NaN, 0) may be 0: as unsigned numbers, the bits of -0 to -inf are 0x80000000 to 0xff800000.
 */
export const relu = unary({
  name: "relu",
  takes: "number",
  wgsl: (x, { literal, output, width }) => {
    if (computeType[output] !== "f32") return `max(${x}, ${literal(0, output)})`;
    const type = width === 4 ? "vec4<u32>" : "u32";
    const isNegative = `((bitcast<${type}>(${x}) ^ ${type}(0x80000000u)) <= ${type}(0x7f800000u))`;
    return `select(${x}, ${literal(0, output)}, ${isNegative})`;
  },
  reference: (x) => Math.max(x, 0),
  derivative: (t, _x, y) => y.greater(0).where(t, 0),
  distinct: true,
});

/** 1 / (1 + exp(-x)), without overflow on either side. */
export const sigmoid = unary({
  name: "sigmoid",
  wgsl: called("sigmoid_accurate"),
  reference: (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))),
  // 1 - y loses all digits where y is near 1; the sigmoid of -x has them.
  derivative: (t, x, y) => t.mul(y.mul(x.neg().sigmoid())),
  cost: 20,
  domain: [-6, 6],
});

/** log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)). */
export const softplus = unary({
  name: "softplus",
  wgsl: called("softplus_accurate"),
  reference: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  derivative: (t, x) => t.mul(x.sigmoid()),
  cost: 40,
  domain: [-6, 6],
});

const twoOverSqrtPi = 2 / Math.sqrt(Math.PI);

export const erf = unary({
  name: "erf",
  wgsl: called("erf_accurate"),
  reference: erfReference,
  derivative: (t, x) => t.mul(x.mul(x).neg().exp().mul(twoOverSqrtPi)),
  cost: 30,
});

/** The inverse of erf on (-1, 1). */
export const erfInv = unary({
  name: "erfInv",
  wgsl: called("erf_inv_accurate"),
  reference: erfInvReference,
  derivative: (t, _x, y) =>
    t.mul(
      y
        .mul(y)
        .exp()
        .mul(1 / twoOverSqrtPi),
    ),
  cost: 40,
  domain: [-0.95, 0.95],
});

/** Tested on the bits: compilers may assume that no NaN or infinity exists. */
export const finite = unary({
  name: "isFinite",
  gives: "bool",
  wgsl: called("is_finite_bits"),
  reference: (x) => (Number.isFinite(x) ? 1 : 0),
  derivative: null,
});

export const not = unary({
  name: "not",
  takes: "bool",
  wgsl: (x) => `(!${x})`,
  reference: (x) => (x ? 0 : 1),
  derivative: null,
});

export const bitNot = unary({
  name: "bitNot",
  takes: "integer",
  wgsl: (x) => `(~${x})`,
  reference: (x, dtype) => wrap(~x, dtype),
  derivative: null,
  domain: [0, 1000],
});
