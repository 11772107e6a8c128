export { after } from "./after";
export { attention, attentionGradient } from "./attention";
export {
  add,
  and,
  bitAnd,
  bitOr,
  bitXor,
  div,
  equal,
  greater,
  greaterEqual,
  less,
  lessEqual,
  maximum,
  minimum,
  mul,
  notEqual,
  or,
  pow,
  rem,
  shiftLeft,
  shiftRight,
  shuffle,
  sub,
  threefry,
  xor,
} from "./binary";
export { bitcast, cast } from "./cast";
export { concat } from "./concat";
export { cumsum } from "./cumulative";
export { dot } from "./dot";
export { gather, scatterSum } from "./gather";
export { full, identity, iota, placeholder, source, stopGradient } from "./leaf";
export { expand, flip, pad, permute, reshape, slice, unwindowed, windowed } from "./movement";
export { argmax, argmin, max, min, prod, squaredDeviations, sum } from "./reduce";
export { select } from "./select";
export { argsort, sort, topOrder } from "./sort";
export {
  abs,
  bitNot,
  ceil,
  cos,
  erf,
  erfInv,
  exp,
  expm1,
  finite,
  floor,
  log,
  log1p,
  neg,
  not,
  reciprocal,
  relu,
  round,
  rsqrt,
  sigmoid,
  sign,
  sin,
  softplus,
  sqrt,
  tanh,
} from "./unary";
