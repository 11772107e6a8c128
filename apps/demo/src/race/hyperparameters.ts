import type { HyperparameterValue } from "@thalweg/bench";
import type { HyperparameterSpec } from "@thalweg/optim";

/** What is wrong with a value for a hyperparameter, as a sentence; undefined if nothing is. */
export function complaint(spec: HyperparameterSpec, value: HyperparameterValue): string | undefined {
  switch (spec.type) {
    case "boolean":
      return typeof value === "boolean" ? undefined : "Choose on or off.";
    case "choice":
      return spec.choices.some((choice) => choice === value) ? undefined : `Choose one of ${spec.choices.join(", ")}.`;
    case "integer":
      if (!Number.isInteger(value)) return "Give a whole number.";
      return outside(spec, value as number);
    case "float":
      if (typeof value !== "number" || !Number.isFinite(value)) return "Give a number.";
      return outside(spec, value);
  }
}

type NumberSpec = Extract<HyperparameterSpec, { readonly type: "float" | "integer" }>;

function outside({ min, max, open }: NumberSpec, value: number): string | undefined {
  const [openMin, openMax] = [open === "min" || open === "both", open === "max" || open === "both"];
  if (min !== undefined && (value < min || (openMin && value === min))) {
    return openMin ? `Give a number above ${min}.` : `Give at least ${min}.`;
  }
  if (max !== undefined && (value > max || (openMax && value === max))) {
    return openMax ? `Give a number below ${max}.` : `Give at most ${max}.`;
  }
  return undefined;
}

/** `learning rate`, for `learningRate`: names as forms show them. */
export function spokenName(name: string): string {
  return name
    .replace(/([a-z])([A-Z0-9])/g, "$1 $2")
    .replace(/([0-9])([A-Z])/g, "$1 $2")
    .toLowerCase();
}
