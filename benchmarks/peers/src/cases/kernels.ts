/** Single operations, as every engine offers them, with what they must give. */
import { uniformGenerator } from "../random";
import { type HostTensor, sizeOf } from "../tensors";

/** What is computed. All tensors are f32, row-major; images are `[batch, height, width, channels]`. */
export type KernelOperation =
  /** `[rows, contracted] · [contracted, columns]`. */
  | { readonly kind: "matmul"; readonly rows: number; readonly columns: number; readonly contracted: number }
  /**
   * Convolution with a kernel `[3, 3, inputs, outputs]`, stride 1, zero padding to the same size. With gradients: the
   * output and the gradients of input and kernel for a given gradient of the output.
   */
  | {
      readonly kind: "convolution";
      readonly batch: number;
      readonly size: number;
      readonly inputs: number;
      readonly outputs: number;
      readonly gradients: boolean;
    }
  /** Softmax of every row. */
  | { readonly kind: "softmax"; readonly rows: number; readonly columns: number }
  /** (x - mean) / sqrt(biased variance + 1e-5) · scale + bias over every row. */
  | { readonly kind: "layerNorm"; readonly rows: number; readonly columns: number }
  /** Sum along the rows (one number per row), along the columns (one per column), or of all. */
  | {
      readonly kind: "sum";
      readonly rows: number;
      readonly columns: number;
      readonly over: "rows" | "columns" | "all";
    }
  /** exp(-x²) · (y / 2 + 1) + sqrt(x² + 1) · sigmoid(y), element by element. */
  | { readonly kind: "chain"; readonly size: number };

/** A single operation to be timed. */
export interface KernelCase {
  readonly type: "kernel";
  readonly name: string;
  readonly description: string;
  readonly operation: KernelOperation;
}

/** All that an engine gets for a {@link KernelCase}: operands in the order of the operation's description. */
export interface KernelProblem {
  readonly case: KernelCase;
  readonly operands: readonly HostTensor[];
}

const matmul = (rows: number, columns: number, contracted: number) =>
  ({ kind: "matmul", rows, columns, contracted }) as const;
const convolution = { kind: "convolution", batch: 16, size: 32, inputs: 64, outputs: 64 } as const;
const matrix = { rows: 4096, columns: 1024 } as const;

const kernel = (name: string, description: string, operation: KernelOperation): KernelCase => ({
  type: "kernel",
  name,
  description,
  operation,
});

/** The operations that can be measured. */
export const kernelCases: readonly KernelCase[] = [
  kernel("matmul_512", "512 × 512 · 512 × 512", matmul(512, 512, 512)),
  kernel("matmul_1024", "1024 × 1024 · 1024 × 1024", matmul(1024, 1024, 1024)),
  kernel("matmul_2048", "2048 × 2048 · 2048 × 2048", matmul(2048, 2048, 2048)),
  kernel("matmul_skinny", "8 × 4096 · 4096 × 4096", matmul(8, 4096, 4096)),
  kernel("conv3x3", "16 × 32 × 32 × 64 to 64 channels, forward", { ...convolution, gradients: false }),
  kernel("conv3x3_gradients", "the same, output and both gradients", { ...convolution, gradients: true }),
  kernel("softmax", "rows of 4096 × 1024", { kind: "softmax", ...matrix }),
  kernel("layer_norm", "rows of 4096 × 1024", { kind: "layerNorm", ...matrix }),
  kernel("sum_rows", "4096 × 1024 to 4096", { kind: "sum", ...matrix, over: "rows" }),
  kernel("sum_columns", "4096 × 1024 to 1024", { kind: "sum", ...matrix, over: "columns" }),
  kernel("sum_all", "4096 × 1024 to one number", { kind: "sum", ...matrix, over: "all" }),
  kernel("elementwise_chain", "11 operations on 2 × 4 194 304 numbers", { kind: "chain", size: 4_194_304 }),
];

/** Shapes of the operands. */
function operandShapes(operation: KernelOperation): readonly (readonly number[])[] {
  switch (operation.kind) {
    case "matmul":
      return [
        [operation.rows, operation.contracted],
        [operation.contracted, operation.columns],
      ];
    case "convolution": {
      const { batch, size, inputs, outputs, gradients } = operation;
      const forward = [
        [batch, size, size, inputs],
        [3, 3, inputs, outputs],
      ];
      return gradients ? [...forward, [batch, size, size, outputs]] : forward;
    }
    case "softmax":
    case "sum":
      return [[operation.rows, operation.columns]];
    case "layerNorm":
      return [[operation.rows, operation.columns], [operation.columns], [operation.columns]];
    case "chain":
      return [[operation.size], [operation.size]];
  }
}

/** Operands with elements uniform in [-1, 1). */
export function createKernelProblem(measured: KernelCase, seed: number): KernelProblem {
  const uniform = uniformGenerator(seed);
  const operands = operandShapes(measured.operation).map((shape) => ({
    shape,
    values: Float32Array.from({ length: sizeOf(shape) }, () => 2 * uniform() - 1),
  }));
  return { case: measured, operands };
}

/** Floating-point operations of one run, a fused multiply-add as two; nothing for operations bound by memory. */
export function kernelFlops(operation: KernelOperation): number | undefined {
  if (operation.kind === "matmul") return 2 * operation.rows * operation.columns * operation.contracted;
  if (operation.kind !== "convolution") return undefined;
  const { batch, size, inputs, outputs, gradients } = operation;
  return (gradients ? 3 : 1) * 2 * batch * size * size * 9 * inputs * outputs;
}

/** Bytes that one run has to read and write at least: operands and results once. */
export function kernelBytes(operation: KernelOperation): number {
  const operands = operandShapes(operation).reduce((sum, shape) => sum + sizeOf(shape), 0);
  const results = resultShapes(operation).reduce((sum, shape) => sum + sizeOf(shape), 0);
  return 4 * (operands + results);
}

/** Shapes of the results. */
export function resultShapes(operation: KernelOperation): readonly (readonly number[])[] {
  switch (operation.kind) {
    case "matmul":
      return [[operation.rows, operation.columns]];
    case "convolution": {
      const { batch, size, inputs, outputs, gradients } = operation;
      const output = [batch, size, size, outputs];
      return gradients ? [output, [batch, size, size, inputs], [3, 3, inputs, outputs]] : [output];
    }
    case "softmax":
    case "layerNorm":
      return [[operation.rows, operation.columns]];
    case "sum":
      return [operation.over === "all" ? [] : [operation.over === "rows" ? operation.rows : operation.columns]];
    case "chain":
      return [[operation.size]];
  }
}

/** A result in float64, element by element, and how far single precision may be from it. */
export interface Reference {
  readonly size: number;
  at(index: number): number;
  /**
   * Largest accepted difference, in units of the largest element of the result that was looked at. A sum of k terms of either
   * sign in any order differs by about sqrt(k) / 2 roundings of its own size, and the largest of millions by a few
   * times that: 16 + 4 sqrt(k) halves of the spacing of floats. Functions such as exp add tens of roundings where the
   * standard lets implementations approximate them.
   */
  readonly tolerance: number;
}

const roundings = (count: number): number => count * 2 ** -24;
const ofSum = (terms: number): number => roundings(16 + 4 * Math.sqrt(terms));

/** One {@link Reference} per result. */
export function kernelReferences({ case: { operation }, operands }: KernelProblem): Reference[] {
  const values = operands.map((operand) => operand.values);
  const read = (operand: number, index: number): number => values[operand]?.[index] ?? Number.NaN;
  switch (operation.kind) {
    case "matmul": {
      const { rows, columns, contracted } = operation;
      const at = (index: number) => {
        const row = Math.floor(index / columns);
        return sum(contracted, (k) => read(0, row * contracted + k) * read(1, k * columns + (index % columns)));
      };
      return [{ size: rows * columns, tolerance: ofSum(contracted), at }];
    }
    case "convolution":
      return convolutionReferences(operation, read);
    case "softmax": {
      const { rows, columns } = operation;
      const at = (index: number) => {
        const first = index - (index % columns);
        return Math.exp(read(0, index)) / sum(columns, (k) => Math.exp(read(0, first + k)));
      };
      return [{ size: rows * columns, tolerance: ofSum(columns), at }];
    }
    case "layerNorm": {
      const { rows, columns } = operation;
      const at = (index: number) => {
        const column = index % columns;
        const first = index - column;
        const mean = sum(columns, (k) => read(0, first + k)) / columns;
        const variance = sum(columns, (k) => (read(0, first + k) - mean) ** 2) / columns;
        return ((read(0, index) - mean) / Math.sqrt(variance + 1e-5)) * read(1, column) + read(2, column);
      };
      return [{ size: rows * columns, tolerance: ofSum(columns), at }];
    }
    case "sum": {
      const { rows, columns, over } = operation;
      if (over === "all") {
        return [{ size: 1, tolerance: ofSum(rows * columns), at: () => sum(rows * columns, (k) => read(0, k)) }];
      }
      return over === "rows"
        ? [{ size: rows, tolerance: ofSum(columns), at: (row) => sum(columns, (k) => read(0, row * columns + k)) }]
        : [{ size: columns, tolerance: ofSum(rows), at: (column) => sum(rows, (k) => read(0, k * columns + column)) }];
    }
    case "chain": {
      const at = (index: number) => {
        const [x, y] = [read(0, index), read(1, index)];
        return Math.exp(-x * x) * (y / 2 + 1) + Math.sqrt(x * x + 1) / (1 + Math.exp(-y));
      };
      return [{ size: operation.size, tolerance: roundings(64), at }];
    }
  }
}

function convolutionReferences(
  { batch, size, inputs, outputs, gradients }: Extract<KernelOperation, { kind: "convolution" }>,
  read: (operand: number, index: number) => number,
): Reference[] {
  const x = (b: number, row: number, column: number, c: number) =>
    row < 0 || column < 0 || row >= size || column >= size
      ? 0
      : read(0, ((b * size + row) * size + column) * inputs + c);
  const dy = (b: number, row: number, column: number, o: number) =>
    row < 0 || column < 0 || row >= size || column >= size
      ? 0
      : read(2, ((b * size + row) * size + column) * outputs + o);
  const kernelAt = (r: number, s: number, c: number, o: number) => read(1, ((r * 3 + s) * inputs + c) * outputs + o);
  const pixel = (index: number, channels: number) => {
    const place = Math.floor(index / channels);
    const column = place % size;
    const row = Math.floor(place / size) % size;
    return { b: Math.floor(place / size / size), row, column, channel: index % channels };
  };
  const output: Reference = {
    size: batch * size * size * outputs,
    tolerance: ofSum(9 * inputs),
    at(index) {
      const { b, row, column, channel } = pixel(index, outputs);
      return sum(9 * inputs, (k) => {
        const [tap, c] = [Math.floor(k / inputs), k % inputs];
        const [r, s] = [Math.floor(tap / 3), tap % 3];
        return x(b, row + r - 1, column + s - 1, c) * kernelAt(r, s, c, channel);
      });
    },
  };
  if (!gradients) return [output];
  const inputGradient: Reference = {
    size: batch * size * size * inputs,
    tolerance: ofSum(9 * outputs),
    at(index) {
      const { b, row, column, channel } = pixel(index, inputs);
      return sum(9 * outputs, (k) => {
        const [tap, o] = [Math.floor(k / outputs), k % outputs];
        const [r, s] = [Math.floor(tap / 3), tap % 3];
        return dy(b, row - r + 1, column - s + 1, o) * kernelAt(r, s, channel, o);
      });
    },
  };
  const kernelGradient: Reference = {
    size: 9 * inputs * outputs,
    tolerance: ofSum(batch * size * size),
    at(index) {
      const o = index % outputs;
      const c = Math.floor(index / outputs) % inputs;
      const tap = Math.floor(index / outputs / inputs);
      const [r, s] = [Math.floor(tap / 3), tap % 3];
      return sum(batch * size * size, (place) => {
        const { b, row, column } = pixel(place, 1);
        return x(b, row + r - 1, column + s - 1, c) * dy(b, row, column, o);
      });
    },
  };
  return [output, inputGradient, kernelGradient];
}

function sum(count: number, term: (index: number) => number): number {
  let total = 0;
  for (let index = 0; index < count; index++) total += term(index);
  return total;
}
