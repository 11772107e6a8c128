/** Maxima and minima as WGSL allows them, and GPUs have them: those of NaN and a number are the number. */
import { vi } from "vitest";

interface Reduced {
  readonly primitive: {
    reference(inputs: readonly { readonly values: Float64Array }[], params: unknown, output: unknown): unknown;
  };
}

interface Reducible {
  maximum(other: number): Reduced;
  minimum(other: number): Reduced;
  max(): Reduced;
  min(): Reduced;
}

/**
 * What `run` evaluates by the float64 reference with such maxima and minima. Software adapters may keep NaN, so that a test
 * on them does not see what hides it.
 *
 * @param x A vector: its methods know the primitives.
 */
export function withGpuMaxima<T>(x: Reducible, run: () => T): T {
  const pairs = [
    [x.maximum(0), Number.NEGATIVE_INFINITY],
    [x.minimum(0), Number.POSITIVE_INFINITY],
    [x.max(), Number.NEGATIVE_INFINITY],
    [x.min(), Number.POSITIVE_INFINITY],
  ] as const;
  const spies = pairs.map(([{ primitive }, neutral]) => {
    const { reference } = primitive;
    const shown = (value: number): number => (Number.isNaN(value) ? neutral : value);
    return vi.spyOn(primitive, "reference").mockImplementation((inputs, params, output) => {
      const seen = inputs.map((input) => ({ ...input, values: input.values.map(shown) }));
      return reference(seen, params, output);
    });
  });
  try {
    return run();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
