import type { Expression } from "./expression";
import { operations } from "./operations";

/** Where the numbers of a jet are: value, gradient, Hessian. */
export const [jetValue, jetX, jetY, jetXX, jetXY, jetYY] = [0, 1, 2, 3, 4, 5] as const;

const size = 6;

/**
 * The formula as a function in float64 that gives value, gradient and Hessian at once, by forward differentiation:
 * `[f, f_x, f_y, f_xx, f_xy, f_yy]`. The array that it returns is its own and holds until the next call.
 */
export function compileJet(expression: Expression): (x: number, y: number) => Float64Array {
  const jets: Float64Array[] = [];
  const steps: (() => void)[] = [];
  const point: [Float64Array, Float64Array] = [Float64Array.of(0, 1, 0, 0, 0, 0), Float64Array.of(0, 0, 1, 0, 0, 0)];
  const add = (part: Expression): Float64Array => {
    if (part.kind === "variable") return point[part.axis];
    const jet = new Float64Array(size);
    jets.push(jet);
    if (part.kind === "constant") {
      jet[jetValue] = part.value;
      return jet;
    }
    const record = operations[part.operation];
    const inner = part.operands.map(add) as [Float64Array, Float64Array];
    const [isConstantA, isConstantB] = part.operands.map(({ kind }) => kind === "constant");
    const [a, b] = inner;
    if (record.arity === 1) {
      steps.push(() => {
        const at = a[jetValue] as number;
        jet.fill(0);
        jet[jetValue] = record.value(at);
        addFirst(jet, a, record.first(at));
        addSecond(jet, a, a, record.second(at));
      });
      return jet;
    }
    steps.push(() => {
      const [atA, atB] = [a[jetValue] as number, b[jetValue] as number];
      jet.fill(0);
      jet[jetValue] = record.value(atA, atB);
      // What belongs to a constant is left out, not multiplied by 0: it may be infinite.
      if (!isConstantA) {
        addFirst(jet, a, record.byA(atA, atB));
        addSecond(jet, a, a, record.byAA(atA, atB));
      }
      if (!isConstantB) {
        addFirst(jet, b, record.byB(atA, atB));
        addSecond(jet, b, b, record.byBB(atA, atB));
      }
      if (!isConstantA && !isConstantB) {
        const mixed = record.byAB(atA, atB);
        addSecond(jet, a, b, mixed);
        addSecond(jet, b, a, mixed);
      }
    });
    return jet;
  };
  const result = add(expression);
  return (x, y) => {
    point[0][jetValue] = x;
    point[1][jetValue] = y;
    for (const step of steps) step();
    return result;
  };
}

/** Adds a first derivative times the derivatives of an operand. */
function addFirst(jet: Float64Array, of: Float64Array, factor: number): void {
  if (factor === 0) return;
  for (let index = jetX; index <= jetYY; index++) jet[index] = (jet[index] as number) + factor * (of[index] as number);
}

/** Adds a second derivative times a product of gradients. */
function addSecond(jet: Float64Array, a: Float64Array, b: Float64Array, factor: number): void {
  if (factor === 0) return;
  const [ax, ay, bx, by] = [a[jetX] as number, a[jetY] as number, b[jetX] as number, b[jetY] as number];
  jet[jetXX] = (jet[jetXX] as number) + factor * ax * bx;
  jet[jetXY] = (jet[jetXY] as number) + (factor * (ax * by + ay * bx)) / 2;
  jet[jetYY] = (jet[jetYY] as number) + factor * ay * by;
}
