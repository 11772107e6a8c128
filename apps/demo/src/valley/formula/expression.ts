import { type OperationName, operations } from "./operations";

/** A formula of two variables. Constants are folded: an application has at least one operand that is none. */
export type Expression =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "variable"; readonly axis: 0 | 1 }
  | { readonly kind: "application"; readonly operation: OperationName; readonly operands: readonly Expression[] };

export const constant = (value: number): Expression => ({ kind: "constant", value });

export const variable = (axis: 0 | 1): Expression => ({ kind: "variable", axis });

/** An operation on its operands; its value, if they are constants. */
export function application(operation: OperationName, ...operands: readonly Expression[]): Expression {
  const values = operands.flatMap((operand) => (operand.kind === "constant" ? [operand.value] : []));
  if (values.length < operands.length) return { kind: "application", operation, operands };
  // The parser gives every operation as many operands as its arity says.
  const [a, b] = values as [number, number];
  const record = operations[operation];
  return constant(record.arity === 1 ? record.value(a) : record.value(a, b));
}
