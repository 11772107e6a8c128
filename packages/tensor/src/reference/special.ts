/**
 * The error function and its inverse in float64, which JavaScript does not have.
 *
 * @see Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6 (series) and 7.1.14 (continued fraction)
 */

const twoOverSqrtPi = 2 / Math.sqrt(Math.PI);

/** Where the continued fraction starts to converge faster than the series. */
const seriesLimit = 2.25;

/** e^(-x²) 2/√π Σ 2^n x^(2n+1) / (2n+1)!!: all terms have one sign, so nothing cancels. */
function series(x: number): number {
  let term = x;
  let total = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    total += term;
  }
  return twoOverSqrtPi * Math.exp(-x * x) * total;
}

/** erfc for x > 0: e^(-x²)/√π · 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + …)))), evaluated from the inside. */
function continuedFraction(x: number): number {
  let tail = x;
  for (let n = 20 + Math.ceil(400 / (x * x)); n > 0; n--) tail = x + n / 2 / tail;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * tail);
}

/** The error function 2/√π ∫₀ˣ e^(-t²) dt, to a few units in the last place. */
export function erf(x: number): number {
  if (Math.abs(x) < seriesLimit) return series(x);
  if (Math.abs(x) > 6) return Math.sign(x);
  return Math.sign(x) * (1 - continuedFraction(Math.abs(x)));
}

/** 1 - erf(x) without cancellation for large x. */
export function erfc(x: number): number {
  if (x < 0.5) return 1 - erf(x);
  return x > 27 ? 0 : continuedFraction(x);
}

/**
 * The inverse of {@link erf} on [-1, 1], by Halley's iteration on erf, or on erfc where erf is flat. NaN outside.
 *
 * @see Winitzki, A handy approximation for the error function and its inverse (2008), for the starting point
 */
export function erfInv(y: number): number {
  const p = Math.abs(y);
  if (!(p < 1)) return p === 1 ? y * Number.POSITIVE_INFINITY : Number.NaN;
  if (p === 0) return y;
  const a = 0.147;
  const l = Math.log1p(-p * p);
  const b = 2 / (Math.PI * a) + l / 2;
  // sqrt(b² - l/a) - b, without cancellation for small p.
  let x = Math.sqrt(-l / a / (Math.sqrt(b * b - l / a) + b));
  for (let step = 0; step < 4; step++) {
    const error = p < 0.5 ? erf(x) - p : 1 - p - erfc(x);
    const newton = error / (twoOverSqrtPi * Math.exp(-x * x));
    x -= newton / (1 + x * newton);
  }
  return Math.sign(y) * x;
}
