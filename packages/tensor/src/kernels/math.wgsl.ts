/**
 * Accurate scalar functions in WGSL, which primitives call by name.
 *
 * The builtins may be wrong by thousands of units in the last place where it matters to training (`log` near 1, `tanh`
 * of small arguments, `exp` of large ones), and differ between drivers. These do not: the errors stated below, in units
 * in the last place of f32 (ulp), are what the tests measure and assert, relative to the exact result, where division and
 * the builtin square roots are rounded correctly; a device that uses up the 2.5 ulp of WGSL's contract adds as much.
 *
 * - NaN gives NaN, and infinities are what they should be. Both are told from the bits, and made from bits, because
 *   compilers may assume that neither exists.
 * - Arguments and results below 2^-126 in magnitude may count as 0, as the device likes; exp and what is made of it
 *   flushes them always. Parts of a result may be flushed too, so an error of 2^-126 comes on top of those stated. The
 *   sign of 0 may be lost.
 * - Compilers may reassociate sums. Where a result depends on the order (range reductions, error terms), intermediate
 *   values go through `opaque_f32`, an exclusive or with a zero that the compiler cannot know.
 *
 * Coefficients of expf, logf, tanhf, sinf, cosf and erff are those of the Cephes Mathematical Library (S. L. Moshier,
 * 1992, single precision). Those of the inverse error function are minimax fits in the variables of M. Giles,
 * Approximating the erfinv function (GPU Computing Gems, Jade Edition, 2011).
 */
import { nearestName, ThalwegError } from "../errors";

interface MathFunction {
  /** The declaration in WGSL. */
  readonly code: string;
  /** Functions it calls. */
  readonly needs: readonly string[];
  /** The builtin that rounds correctly where the adapter computes on the CPU: there it is one instruction. */
  readonly exactOnCpu?: string;
}

/** Nested multiply-adds, highest power first. */
const polynomial = (variable: string, coefficients: readonly string[]): string =>
  coefficients.reduce((sum, coefficient) => `(${sum}) * ${variable} + ${coefficient}`);

const expTail = polynomial("r", [
  "1.9875691500e-4",
  "1.3981999507e-3",
  "8.3334519073e-3",
  "4.1665795894e-2",
  "1.6666665459e-1",
  "5.0000001201e-1",
]);

const logTail = polynomial("f", [
  "7.0376836292e-2",
  "-1.1514610310e-1",
  "1.1676998740e-1",
  "-1.2420140846e-1",
  "1.4249322787e-1",
  "-1.6668057665e-1",
  "2.0000714765e-1",
  "-2.4999993993e-1",
  "3.3333331174e-1",
]);

/** The first 224 bits of 2/π, after 32 zeros. */
const twoOverPi = "0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu";

/** One round of Threefry: add, rotate, exclusive or. */
const threefryRounds = (rotations: readonly number[]): string =>
  rotations.map((rotation) => `  x0 += x1; x1 = ((x1 << ${rotation}u) | (x1 >> ${32 - rotation}u)) ^ x0;`).join("\n");

const threefryGroup = (group: number): string => {
  const rotations = group % 2 === 0 ? [13, 15, 26, 6] : [17, 29, 16, 24];
  const [first, second] = [`k${(group + 1) % 3}`, `k${(group + 2) % 3}`];
  return `${threefryRounds(rotations)}\n  x0 += ${first}; x1 += ${second} + ${group + 1}u;`;
};

const threefryWord = (word: "first" | "second" | "xor", result: string): MathFunction => ({
  code: `
fn threefry_${word}(k0: u32, k1: u32, c0: u32, c1: u32) -> u32 {
  let block = threefry_block(k0, k1, c0, c1);
  return ${result};
}`,
  needs: ["threefry_block"],
});

/** All functions by name. */
const mathFunctions: Readonly<Record<string, MathFunction>> = {
  /** The same value, unknown to the compiler. */
  opaque_f32: {
    code: `
fn opaque_f32(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ runtime.zero); }`,
    needs: [],
  },

  is_nan_bits: {
    code: `
fn is_nan_bits(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }`,
    needs: [],
  },

  /** Neither infinite nor NaN. */
  is_finite_bits: {
    code: `
fn is_finite_bits(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }`,
    needs: [],
  },

  /** `+inf` (0x7f800000), `-inf` (0xff800000) or NaN (0x7fc00000) where the condition holds, else y. */
  bits_where: {
    code: `
fn bits_where(condition: bool, bits: u32, y: f32) -> f32 {
  return bitcast<f32>(select(bitcast<u32>(y), bits, condition));
}`,
    needs: [],
  },

  /** NaN if x is NaN, else y. */
  keep_nan: {
    code: `
fn keep_nan(x: f32, y: f32) -> f32 { return bits_where(is_nan_bits(x), 0x7fc00000u, y); }`,
    needs: ["bits_where", "is_nan_bits"],
  },

  /** The larger one; NaN if one of the two is. */
  max_or_nan: {
    code: `
fn max_or_nan(a: f32, b: f32) -> f32 { return keep_nan(a, keep_nan(b, max(a, b))); }`,
    needs: ["keep_nan"],
  },

  /** The smaller one; NaN if one of the two is. */
  min_or_nan: {
    code: `
fn min_or_nan(a: f32, b: f32) -> f32 { return keep_nan(a, keep_nan(b, min(a, b))); }`,
    needs: ["keep_nan"],
  },

  /** x · 2^n for x in [1/2, 2): 0 and infinity where the exponent leaves the range of normal numbers. */
  scale_by_power: {
    code: `
fn scale_by_power(x: f32, n: i32) -> f32 {
  let bits = bitcast<u32>(x);
  let exponent = i32(bits >> 23u) + n;
  let scaled = bitcast<u32>(bitcast<i32>(bits) + (n << 23u));
  return bitcast<f32>(select(select(scaled, 0x7f800000u, exponent > 254), 0u, exponent < 1));
}`,
    needs: [],
  },

  /** e^(hi + lo) for |lo| much smaller than |hi|. Not NaN for NaN. */
  exp_of_sum: {
    code: `
fn exp_of_sum(hi: f32, lo: f32) -> f32 {
  let x = clamp(hi, -104.0, 104.0);
  let n = floor(x * 1.44269504 + 0.5);
  let r = opaque_f32(opaque_f32(x - n * 0.693359375) - n * -2.12194440e-4) + lo;
  let tail = opaque_f32(r + r * r * (${expTail}));
  return scale_by_power(1.0 + tail, i32(n));
}`,
    needs: ["opaque_f32", "scale_by_power"],
  },

  /** e^x, 1.0 ulp. Results below 2^-126 are 0. */
  exp_accurate: {
    code: `
fn exp_accurate(x: f32) -> f32 { return keep_nan(x, exp_of_sum(x, 0.0)); }`,
    needs: ["exp_of_sum", "keep_nan"],
  },

  /** e^x - 1, 1.5 ulp. */
  expm1_accurate: {
    code: `
fn expm1_accurate(x: f32) -> f32 {
  if (x > 20.0) { return exp_accurate(x); }
  let y = max(x, -20.0);
  let n = floor(y * 1.44269504 + 0.5);
  let r = opaque_f32(opaque_f32(y - n * 0.693359375) - n * -2.12194440e-4);
  let tail = opaque_f32(r + r * r * (${expTail}));
  let power = scale_by_power(1.0, i32(n));
  return keep_nan(x, power * tail + (power - 1.0));
}`,
    needs: ["opaque_f32", "scale_by_power", "exp_accurate", "keep_nan"],
  },

  /** The natural logarithm, 1.0 ulp; -inf at 0, NaN below. */
  log_accurate: {
    code: `
fn log_accurate(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  // A subnormal number, taken as an integer, is a normal one 2^149 times as large.
  let is_small = bits < 0x00800000u;
  let normal = select(bits, bitcast<u32>(f32(bits)), is_small);
  // The exponent for which the mantissa is in [sqrt(1/2), sqrt(2)).
  let shifted = i32(normal) - 0x3f3504f3;
  let n = f32((shifted >> 23u) - select(0, 149, is_small));
  let f = bitcast<f32>((shifted & 0x007fffff) + 0x3f3504f3) - 1.0;
  let z = f * f;
  let tail = opaque_f32(f * z * (${logTail}) + n * -2.12194440e-4);
  let y = opaque_f32(f + (tail - 0.5 * z)) + n * 0.693359375;
  let magnitude = bits & 0x7fffffffu;
  let special = select(select(0x7fc00000u, 0x7f800000u, bits == 0x7f800000u), 0xff800000u, magnitude == 0u);
  return bits_where(magnitude == 0u || bits >= 0x7f800000u, special, y);
}`,
    needs: ["opaque_f32", "bits_where"],
  },

  /** log(1 + x), 1.5 ulp; -inf at -1, NaN below. The part of x that 1 + x rounds off is added to first order. */
  log1p_accurate: {
    code: `
fn log1p_accurate(x: f32) -> f32 {
  let u = opaque_f32(1.0 + x);
  let lost = opaque_f32(x - opaque_f32(u - 1.0));
  let y = log_accurate(u);
  let is_special = bitcast<u32>(u) - 0x00800000u >= 0x7f000000u;
  return keep_nan(x, select(y + lost / u, y, is_special));
}`,
    needs: ["opaque_f32", "log_accurate", "keep_nan"],
  },

  /** The 64 bits of a product: high word, low word. */
  multiply_wide: {
    code: `
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let cross = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (cross & 0xffffu);
  return vec2<u32>((a >> 16u) * (b >> 16u) + (cross >> 16u) + (other >> 16u), a * b);
}`,
    needs: [],
  },

  /**
   * x as an Angle with |rest| <= π/4, for finite |x| >= 2^15. The product with 2/π is taken in integers, in a window
   * of 96 bits below the multiples of 4 (Payne and Hanek, 1983).
   */
  reduce_large_angle: {
    code: `
fn reduce_large_angle(x: f32) -> Angle {
  var table = array<u32, 8>(${twoOverPi});
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let mantissa = (bits & 0x007fffffu) | 0x00800000u;
  let start = (bits >> 23u) - 120u;
  let word = start >> 5u;
  let shift = start & 31u;
  let a = (table[word] << shift) | ((table[word + 1u] >> 1u) >> (31u - shift));
  let b = (table[word + 1u] << shift) | ((table[word + 2u] >> 1u) >> (31u - shift));
  let c = (table[word + 2u] << shift) | ((table[word + 3u] >> 1u) >> (31u - shift));
  let low = multiply_wide(mantissa, c);
  let middle = multiply_wide(mantissa, b);
  let second = middle.y + low.x;
  let first = mantissa * a + middle.x + select(0u, 1u, second < low.x);
  var high = (first << 2u) | (second >> 30u);
  var rest = (second << 2u) | (low.y >> 30u);
  let round_up = high >> 31u;
  if (round_up == 1u) {
    rest = ~rest + 1u;
    high = ~high + select(0u, 1u, rest == 0u);
  }
  // The first 24 bits of the turns are one number, the others another one.
  let turns = f32(high & 0xffffff00u) * 2.3283064e-10;
  let more = f32(high & 0xffu) * 2.3283064e-10 + f32(rest) * 5.4210109e-20;
  let product = product_as_sum(turns, 1.57079637);
  let low_part = product.y + (more * 1.57079637 + turns * -4.37113883e-8);
  let quadrant = (first >> 30u) + round_up;
  let is_negative = x < 0.0;
  let sign = select(1.0, -1.0, (round_up == 1u) != is_negative);
  return Angle(sign * product.x, sign * low_part, select(quadrant, 0u - quadrant, is_negative));
}`,
    needs: ["Angle", "multiply_wide", "product_as_sum"],
  },

  /** quadrant · π/2 + rest + low, where low is below the last place of rest. */
  Angle: {
    code: `
struct Angle { rest: f32, low: f32, quadrant: u32 }`,
    needs: [],
  },

  /** For |x| < 2^16: π/2 in pieces of eight bits, whose products with the quadrant are exact (Cody and Waite, 1980). */
  reduce_angle: {
    code: `
fn reduce_angle(x: f32) -> Angle {
  if (abs(x) >= 65536.0) { return reduce_large_angle(x); }
  let n = round(x * 0.636619772);
  let start = opaque_f32(opaque_f32(x - n * 1.5703125) - n * 4.84466552734375e-4);
  // From here on the differences may round, and what they lose is kept.
  let third = n * -6.4074993133544921875e-7;
  let closer = opaque_f32(start - third);
  let fourth = n * 9.89530235528945923e-10;
  let rest = opaque_f32(closer - fourth);
  let lost = (opaque_f32(start - closer) - third) + (opaque_f32(closer - rest) - fourth);
  return Angle(rest, lost - n * 2.563344068257089603e-12, u32(i32(n)));
}`,
    needs: ["Angle", "reduce_large_angle", "opaque_f32"],
  },

  /** The sine of the angle of x; NaN where x is not finite. */
  sine_of_angle: {
    code: `
fn sine_of_angle(x: f32, angle: Angle) -> f32 {
  let rest = angle.rest;
  let z = rest * rest;
  let sine = rest + opaque_f32(angle.low + rest * z * (${polynomial("z", ["-1.9515295891e-4", "8.3321608736e-3", "-1.6666654611e-1"])}));
  let cosine = 1.0 + opaque_f32(z * z * (${polynomial("z", [
    "2.443315711809948e-5",
    "-1.388731625493765e-3",
    "4.166664568298827e-2",
  ])}) - (0.5 * z + rest * angle.low));
  let y = select(sine, cosine, (angle.quadrant & 1u) == 1u);
  return bits_where(!is_finite_bits(x), 0x7fc00000u, select(y, -y, (angle.quadrant & 2u) == 2u));
}`,
    needs: ["Angle", "bits_where", "is_finite_bits", "opaque_f32"],
  },

  /** The sine of any finite number, 1.5 ulp; NaN at infinities. */
  sin_accurate: {
    code: `
fn sin_accurate(x: f32) -> f32 {
  return sine_of_angle(x, reduce_angle(x));
}`,
    needs: ["reduce_angle", "sine_of_angle"],
  },

  /** The cosine of any finite number, 1.5 ulp; NaN at infinities. */
  cos_accurate: {
    code: `
fn cos_accurate(x: f32) -> f32 {
  var angle = reduce_angle(x);
  angle.quadrant += 1u;
  return sine_of_angle(x, angle);
}`,
    needs: ["reduce_angle", "sine_of_angle"],
  },

  /** 1.5 ulp; cannot overflow. */
  tanh_accurate: {
    code: `
fn tanh_accurate(x: f32) -> f32 {
  let a = min(abs(x), 10.0);
  let z = x * x;
  let near = x + x * z * (${polynomial("z", [
    "-5.70498872745e-3",
    "2.06390887954e-2",
    "-5.37397155531e-2",
    "1.33314422036e-1",
    "-3.33332819422e-1",
  ])});
  let far = 1.0 - 2.0 / (exp_of_sum(2.0 * a, 0.0) + 1.0);
  return keep_nan(x, select(select(far, -far, x < 0.0), near, a < 0.625));
}`,
    needs: ["exp_of_sum", "keep_nan"],
  },

  /** 1.0 ulp; NaN below 0. One Newton step on the builtin, with an exact residual: the contract allows the builtin 5 ulp. */
  sqrt_accurate: {
    code: `
fn sqrt_accurate(x: f32) -> f32 {
  let y = sqrt(x);
  let high = bitcast<f32>(bitcast<u32>(y) & 0xfffff000u);
  let low = y - high;
  let residual = opaque_f32(opaque_f32(high * high - x) + 2.0 * high * low) + low * low;
  // Far enough from the smallest number that no part of the residual is flushed to 0.
  let bits = bitcast<u32>(x);
  let corrected = select(y, y - 0.5 * residual / y, bits >= 0x10000000u && bits < 0x7f800000u);
  let special = select(0x7f800000u, 0x7fc00000u, bits != 0x7f800000u);
  return bits_where(bits >= 0x7f800000u && bits != 0x80000000u, special, select(corrected, 0.0, x == 0.0));
}`,
    needs: ["opaque_f32", "bits_where"],
    exactOnCpu: "sqrt",
  },

  /** 1 / sqrt(x), 1.5 ulp; infinite at 0, NaN below. One Newton step on the builtin, to which the contract allows 2 ulp. */
  rsqrt_accurate: {
    code: `
fn rsqrt_accurate(x: f32) -> f32 {
  let y = inverseSqrt(x);
  let corrected = y + 0.5 * y * (1.0 - opaque_f32(x * y) * y);
  let bits = bitcast<u32>(x);
  let is_normal = bits - 0x00800000u < 0x7f000000u;
  let is_zero = (bits & 0x7fffffffu) < 0x00800000u;
  let special = select(select(0x7fc00000u, 0u, bits == 0x7f800000u), 0x7f800000u, is_zero);
  return bits_where(!is_normal, special, corrected);
}`,
    needs: ["opaque_f32", "bits_where"],
  },

  /** 1 / (1 + e^-x), 2.5 ulp. Results below 2^-126 are 0. */
  sigmoid_accurate: {
    code: `
fn sigmoid_accurate(x: f32) -> f32 {
  let e = exp_of_sum(-abs(x), 0.0);
  return keep_nan(x, select(1.0, e, x < 0.0) / (1.0 + e));
}`,
    needs: ["exp_of_sum", "keep_nan"],
  },

  /** log(1 + e^x), 2.0 ulp. Results below 2^-126 are 0. */
  softplus_accurate: {
    code: `
fn softplus_accurate(x: f32) -> f32 {
  return keep_nan(x, max(x, 0.0) + log1p_accurate(exp_of_sum(-abs(x), 0.0)));
}`,
    needs: ["exp_of_sum", "log1p_accurate", "keep_nan"],
  },

  /** The error function, 1.5 ulp. */
  erf_accurate: {
    code: `
fn erf_accurate(x: f32) -> f32 {
  let z = x * x;
  let near = x + opaque_f32(x * (${polynomial("z", [
    "7.853861353153693e-5",
    "-8.010193625184903e-4",
    "5.188327685732524e-3",
    "-2.685381193529856e-2",
    "1.128358514861418e-1",
    "-3.761262582423300e-1",
    "1.28379165726710e-1",
  ])}));
  let a = clamp(abs(x), 1.0, 4.0);
  let q = 1.0 / a;
  let w = q * q;
  let rest = exp_of_sum(-a * a, 0.0) * q * (${polynomial("w", [
    "2.326819970068386e-2",
    "-1.387039388740657e-1",
    "3.687424674597105e-1",
    "-5.824733027278666e-1",
    "6.210004621745983e-1",
    "-4.944515323274145e-1",
    "3.404879937665872e-1",
    "-2.741127028184656e-1",
    "5.638259427386472e-1",
  ])});
  let far = 1.0 - rest;
  return keep_nan(x, select(select(far, -far, x < 0.0), near, abs(x) < 1.0));
}`,
    needs: ["exp_of_sum", "keep_nan", "opaque_f32"],
  },

  /** The inverse of erf, 3.0 ulp; infinite at -1 and 1, NaN outside. */
  erf_inv_accurate: {
    code: `
fn erf_inv_accurate(x: f32) -> f32 {
  let w = -log_accurate((1.0 - x) * (1.0 + x));
  let t = w - 2.5;
  let near = ${polynomial("t", [
    "-8.79101325e-9",
    "2.32326300e-8",
    "4.66170064e-7",
    "-3.46270463e-6",
    "-4.96334496e-6",
    "2.18344445e-4",
    "-1.25274190e-3",
    "-4.17738687e-3",
    "2.46640280e-1",
    "1.50140941",
  ])};
  let s = sqrt(max(w, 5.0)) - 3.2036994;
  let far = ${polynomial("s", [
    "1.02782287e-4",
    "-1.07921551e-4",
    "-3.67979927e-4",
    "1.14214385e-3",
    "-1.96358258e-3",
    "2.89130793e-3",
    "-4.25218930e-3",
    "5.92829753e-3",
    "1.00473654",
    "3.03735328",
  ])};
  let a = abs(x);
  let y = x * select(far, near, w < 5.0);
  let infinite = (bitcast<u32>(x) & 0x80000000u) | 0x7f800000u;
  return keep_nan(x, bits_where(a >= 1.0, select(infinite, 0x7fc00000u, a > 1.0), y));
}`,
    needs: ["log_accurate", "bits_where", "keep_nan"],
  },

  /** hi + lo = log(x) to about 32 bits, for normal x > 0. */
  log_as_sum: {
    code: `
fn log_as_sum(x: f32) -> vec2<f32> {
  let shifted = bitcast<i32>(x) - 0x3f3504f3;
  let n = f32(shifted >> 23u);
  let m = bitcast<f32>((shifted & 0x007fffff) + 0x3f3504f3);
  // log m = 2 artanh s with s = f / g, f = m - 1 exactly, g + lost = m + 1.
  let f = m - 1.0;
  let g = opaque_f32(m + 1.0);
  let lost = opaque_f32(m - opaque_f32(g - 1.0));
  let s = opaque_f32(f / g);
  let product = product_as_sum(s, g);
  let s_rest = (opaque_f32(opaque_f32(f - product.x) - product.y) - s * lost) / g;
  let z = s * s;
  let cubic = s * z * (${polynomial("z", ["0.23331491", "0.28550779", "0.40000122", "0.66666667"])});
  let large = n * 0.693359375;
  let hi = opaque_f32(large + 2.0 * s);
  let rounded = opaque_f32(2.0 * s - opaque_f32(hi - large));
  return vec2<f32>(hi, rounded + (n * -2.12194440e-4 + (2.0 * s_rest + cubic)));
}`,
    needs: ["opaque_f32", "product_as_sum"],
  },

  /** hi + lo = a · b exactly, unless parts leave the range of normal numbers (Dekker, 1971). */
  product_as_sum: {
    code: `
fn product_as_sum(a: f32, b: f32) -> vec2<f32> {
  let a_high = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let a_low = a - a_high;
  let b_low = b - b_high;
  let hi = opaque_f32(a * b);
  let cross = opaque_f32(opaque_f32(a_high * b_high - hi) + a_high * b_low) + a_low * b_high;
  return vec2<f32>(hi, opaque_f32(cross) + a_low * b_low);
}`,
    needs: ["opaque_f32"],
  },

  /**
   * a to the power b, 1.5 ulp, and exact where the result is a small integer. A negative base gives NaN unless b is an
   * integer. x^0 is 1, also for NaN, and 1^b is 1 for all b but NaN.
   */
  pow_accurate: {
    code: `
fn pow_accurate(a: f32, b: f32) -> f32 {
  let magnitude = abs(a);
  let bits = bitcast<u32>(magnitude);
  let logarithm = log_as_sum(select(magnitude, 1.0, bits - 0x00800000u >= 0x7f000000u));
  let exponent = clamp(b, -1e30, 1e30);
  let product = product_as_sum(exponent, logarithm.x);
  let is_large = abs(product.x) > 104.0;
  var y = exp_of_sum(product.x, select(product.y + exponent * logarithm.y, 0.0, is_large));
  // 0 and infinity, both of which the logarithm took for 1.
  let is_zero = bits < 0x00800000u;
  let is_infinite = bits == 0x7f800000u;
  let vanishes = (is_zero && b > 0.0) || (is_infinite && b < 0.0);
  y = bits_where((is_zero || is_infinite) && b != 0.0, select(0x7f800000u, 0u, vanishes), y);
  // Half of b is an integer for even b, and every f32 from 2^24 on is even.
  let is_integer = floor(b) == b;
  let is_odd = is_integer && abs(b) < 16777216.0 && floor(0.5 * b) != 0.5 * b;
  let is_negative = a < 0.0;
  y = select(y, -y, is_negative && is_odd);
  y = bits_where((is_negative && !is_integer && !is_zero && !is_infinite) || is_nan_bits(a) || is_nan_bits(b), 0x7fc00000u, y);
  return select(y, 1.0, b == 0.0 && !is_nan_bits(b));
}`,
    needs: ["log_as_sum", "product_as_sum", "exp_of_sum", "bits_where", "is_nan_bits"],
  },

  /** Threefry2x32 with 20 rounds: exactly reference/threefry.ts. */
  threefry_block: {
    code: `
fn threefry_block(k0: u32, k1: u32, c0: u32, c1: u32) -> vec2<u32> {
  let k2 = k0 ^ k1 ^ 0x1bd11bdau;
  var x0 = c0 + k0;
  var x1 = c1 + k1;
${[0, 1, 2, 3, 4].map(threefryGroup).join("\n")}
  return vec2<u32>(x0, x1);
}`,
    needs: [],
  },
  threefry_first: threefryWord("first", "block.x"),
  threefry_second: threefryWord("second", "block.y"),
  threefry_xor: threefryWord("xor", "block.x ^ block.y"),

  /** Where the keyed permutation of 0 … count - 1 sends a position: exactly reference/threefry.ts. For counts to 2^31. */
  swap_or_not: {
    code: `
fn swap_or_not(k0: u32, k1: u32, position: u32, count: u32) -> u32 {
  let rounds = 6u * max(1u, 32u - countLeadingZeros(max(count, 2u) - 1u));
  var x = position;
  for (var round = 0u; round < rounds; round++) {
    let centre = threefry_block(k0, k1, 0xffffffffu, round).x;
    let partner = ((centre % count) + count - x) % count;
    if ((threefry_block(k0, k1, max(x, partner), round).x & 1u) == 1u) { x = partner; }
  }
  return x;
}`,
    needs: ["threefry_block"],
  },
};

/** The functions named, and those they need, each after those it needs. */
function inOrder(names: Iterable<string>, functionFor: (name: string) => MathFunction): [string, MathFunction][] {
  const order = new Map<string, MathFunction>();
  const visit = (name: string): void => {
    if (order.has(name)) return;
    const own = functionFor(name);
    own.needs.forEach(visit);
    order.set(name, own);
  };
  for (const name of names) visit(name);
  return [...order];
}

function functionNamed(name: string): MathFunction {
  const found = mathFunctions[name];
  if (found === undefined) {
    const nearest = nearestName(name, Object.keys(mathFunctions));
    throw new ThalwegError(
      "internal",
      `mathSource: there is no function ${name}${nearest ? `; is ${nearest} meant?` : ""}. Add it to mathFunctions.`,
    );
  }
  return found;
}

/** A function of vectors of four that applies the scalar one to every lane. */
function laneWise(name: string): string {
  const declaration = /fn \w+\(([^)]*)\) -> (\w+)/.exec(functionNamed(name).code);
  const [, parameters, result] = declaration as unknown as [string, string, string];
  const list = parameters.split(", ").map((parameter) => parameter.split(": ") as [string, string]);
  const lanes = ["x", "y", "z", "w"].map((lane) => `${name}(${list.map(([own]) => `${own}.${lane}`).join(", ")})`);
  return `
fn ${name}_x4(${list.map(([own, type]) => `${own}: vec4<${type}>`).join(", ")}) -> vec4<${result}> {
  return vec4<${result}>(
    ${lanes.join(",\n    ")});
}`;
}

/** What a function is made of on CPU adapters: where a builtin is exact, that. */
function onCpu(name: string): MathFunction {
  const own = functionNamed(name);
  if (own.exactOnCpu === undefined) return own;
  return { code: `\nfn ${name}(x: f32) -> f32 { return ${own.exactOnCpu}(x); }`, needs: [] };
}

/**
 * WGSL of the functions and of all that they need, each once.
 *
 * @param names Functions called with scalars.
 * @param width4 Functions called as `NAME_x4` with vectors of four.
 * @param isCpu Does the adapter compute on the CPU?
 */
export function mathSource(names: Iterable<string>, width4: Iterable<string>, isCpu = false): string {
  const wide = [...width4];
  const scalar = inOrder([...names, ...wide], isCpu ? onCpu : functionNamed).map(([, { code }]) => code);
  return [...scalar, ...[...new Set(wide)].map(laneWise)].join("\n").trimStart();
}

/** Do the functions read `runtime.zero`, which the kernel has to declare then? */
export const needsRuntime = (names: Iterable<string>): boolean =>
  inOrder(names, functionNamed).some(([name]) => name === "opaque_f32");
