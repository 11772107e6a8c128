/** How terms of a reduction become one, in WGSL. */
import type { Emitter } from "../compiler/emit";
import type { ComputeType } from "../dtype";
import type { Combine } from "../primitives/definition";

const lowest = { f32: Number.NEGATIVE_INFINITY, i32: -(2 ** 31), u32: 0, bool: 0 } as const;
const highest = { f32: Number.POSITIVE_INFINITY, i32: 2 ** 31 - 1, u32: 2 ** 32 - 1, bool: 1 } as const;

/** What changes no term that it is combined with. */
export function startOf(combine: Combine, type: ComputeType): number {
  if (combine === "sum") return 0;
  if (combine === "prod") return 1;
  return combine === "max" || combine === "argmax" ? lowest[type] : highest[type];
}

/** Two values, or vectors of four, as one. An extreme is NaN where one of the two is: the builtins may give the other one. */
export function combined(
  emitter: Emitter,
  { combine, type, width }: { readonly combine: Combine; readonly type: ComputeType; readonly width: 1 | 4 },
  a: string,
  b: string,
): string {
  if (combine === "sum") return `(${a} + ${b})`;
  if (combine === "prod") return `(${a} * ${b})`;
  return type === "f32" ? emitter.call(`${combine}_or_nan`, width, a, b) : `${combine}(${a}, ${b})`;
}
