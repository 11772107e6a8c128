export { stopGradient } from "@thalweg/tensor";
export { checkpoint } from "./checkpoint";
export {
  type CotangentsOf,
  type CustomRuleContext,
  type CustomRules,
  customRule,
  type JvpRule,
  type VjpRule,
} from "./custom-rule";
export { type ArgumentNumbers, type GradOptions, grad, type SelectedArguments, valueAndGrad } from "./grad";
export { type HessianOptions, hessian } from "./hessian";
export { type JacobianOptions, jacobian } from "./jacobian";
export { jvp } from "./jvp";
export { linearize } from "./linearize";
export { hvp } from "./products";
export { vjp } from "./vjp";
export { type AxisTree, type VmapOptions, vmap } from "./vmap";
