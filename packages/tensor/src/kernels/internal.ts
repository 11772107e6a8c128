/** Primitives that appear only in lowerings: kernels written by hand, behind a composite that has all rules. */
import type { CompileTarget } from "../compiler/target";
import { invariant } from "../errors";
import { type Aval, definePrimitive, type Primitive, type WrittenKernel } from "../primitives/definition";

interface InternalKernel<P> {
  readonly name: string;
  shape(inputs: readonly Aval[], params: P): Aval;
  kernel(inputs: readonly Aval[], output: Aval, params: P, target: CompileTarget): WrittenKernel;
}

/** A primitive without rules: derivatives, batching and reference belong to the composite that expands to it. */
export function internalKernel<P>({ name, shape, kernel }: InternalKernel<P>): Primitive<P> {
  const unused = (rule: string) => (): never => {
    invariant(false, `no ${rule} of ${name} is asked for: it appears after the expansion of composites only`);
    throw new Error();
  };
  return definePrimitive<P>({
    name,
    shape,
    lowering: { kind: "kernel", kernel },
    reference: unused("reference"),
    vjp: unused("vjp"),
    jvp: unused("jvp"),
    batch: unused("batching rule"),
    sample: unused("sample"),
  });
}

/** Ends workgroups beyond the last one: grids are rounded up. */
export const endBeyond = (workgroups: number): string => `
  if (number >= ${workgroups}u) { return; }`;

/**
 * The bound of a loop, u32. A driver that sees a constant writes out every iteration of a short loop, and with it every
 * barrier and every branch of a CPU's vectors: where that is slow to compile it is hidden; see `keepsLoops`.
 */
export const loopBound = (count: number, { keepsLoops }: CompileTarget): string =>
  keepsLoops ? `(${count}u + runtime.zero)` : `${count}u`;

/** The smallest power of two that is not smaller. */
export const powerOfTwo = (count: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, count)));
