/**
 * What tests of tensor code need: a float64 reference for every graph, bounds on rounding errors, random inputs and
 * finite differences; programs compiled for another target than the device's. No test runner is assumed; failures are plain errors.
 *
 * @module
 */
export { type CompileTarget, retarget } from "../compiler/target";
export { elementAt, type NdArray, ndarray } from "../reference/array";
export { type Bindings, evaluateReference } from "../reference/interpreter";
export { erf, erfc, erfInv } from "../reference/special";
export { type Bound, expectClose, roundTo, type ToleranceOptions, tolerance, ulpOf, unitRoundoff } from "./closeness";
export { directionalDerivative, innerProduct } from "./difference";
export { randomInputs, type SeededDraw, seededDraw } from "./draw";
