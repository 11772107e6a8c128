import type { Tensor } from "@thalweg/tensor";
import type { Expression } from "./expression";
import { operations, type Term } from "./operations";

/** The formula as a function in float64. */
export function compileValue(expression: Expression): (x: number, y: number) => number {
  switch (expression.kind) {
    case "constant": {
      const { value } = expression;
      return () => value;
    }
    case "variable":
      return expression.axis === 0 ? (x) => x : (_, y) => y;
    case "application": {
      const record = operations[expression.operation];
      // The parser gives every operation as many operands as its arity says.
      const [a, b] = expression.operands.map(compileValue) as [Value, Value];
      if (record.arity === 1) {
        const { value } = record;
        return (x, y) => value(a(x, y));
      }
      const { value } = record;
      return (x, y) => value(a(x, y), b(x, y));
    }
  }
}

type Value = ReturnType<typeof compileValue>;

/** The formula as operations on tensors of one shape: what the engine derives gradients of. */
export function tensorOf(expression: Expression, x: Tensor, y: Tensor): Tensor {
  const lower = (part: Expression): Term => {
    if (part.kind === "constant") return part.value;
    if (part.kind === "variable") return part.axis === 0 ? x : y;
    const record = operations[part.operation];
    const [a, b] = part.operands.map(lower) as [Term, Term];
    // Constants are folded, so that the operand of an operation on one is a tensor.
    return record.arity === 1 ? record.tensor(a as Tensor) : record.tensor(a, b);
  };
  const result = lower(expression);
  return typeof result === "number" ? x.fullLike(result) : result;
}
