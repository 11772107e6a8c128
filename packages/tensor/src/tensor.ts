import "./dispose-symbol";
import type { Storage } from "./device/buffer-pool";
import type { Device } from "./device/device";
import { bytesPerElement, type DType, decodeElements, isFloat, isInteger, type TypedArray } from "./dtype";
import { ArgumentError, DisposedError, DTypeError, formatShape, invariant, ShapeError } from "./errors";
import * as p from "./primitives";
import type { ThreefryWord } from "./primitives/binary";
import type { Aval, Primitive } from "./primitives/definition";
import type { DotParams } from "./primitives/dot";
import type { PadAxis, WindowParams } from "./primitives/movement";
import { remember } from "./scope";
import { broadcastShapes, checkShape, normalizeAxes, normalizeAxis, type Shape, sameShape, sizeOf } from "./shape";

/** Where the elements of a realised tensor are. */
export type Data =
  | { readonly kind: "host"; readonly bytes: ArrayBuffer }
  | { readonly kind: "device"; readonly device: Device; readonly storage: Storage };

/** An operand of an elementwise operation: plain numbers take the dtype of the tensor. */
export type Operand = Tensor | number | boolean;

export type Axes = number | readonly number[];

export interface ReduceOptions {
  /** Axes to reduce; negative ones count from the end; `"rest"` is all but the first. Default: all. */
  readonly axis?: Axes | "rest" | undefined;
  /** Keeps reduced axes with extent 1. Default false. */
  readonly keepDims?: boolean;
}

export interface DotOptions {
  readonly batch?: DotParams["batch"];
  readonly contract?: DotParams["contract"];
}

export interface SortOptions {
  readonly axis: number;
  /** Default false. */
  readonly descending?: boolean;
}

/** Nested arrays of numbers, as deep as the rank. */
export type NestedNumbers = number | readonly NestedNumbers[];

let nextId = 0;

/** Called with every new node; the debug mode notes where it was made. */
let onCreate: ((tensor: Tensor) => void) | undefined;

/** Replaces the observer of new nodes and returns the previous one. */
export function observeCreation(observer: ((tensor: Tensor) => void) | undefined): typeof onCreate {
  const previous = onCreate;
  onCreate = observer;
  return previous;
}

const releaseOnCollection = new FinalizationRegistry<Storage>((storage) => storage.release());

/**
 * A node of a lazy, immutable graph: realised data, or an operation with inputs.
 *
 * Operations build graph and run nothing. {@link Tensor.data}, {@link Tensor.array} and {@link Tensor.item} run what
 * is needed and wait; they are the only asynchronous methods. Elementwise operations broadcast like NumPy.
 */
export class Tensor {
  /** Order of creation: inputs come before what is made of them. */
  readonly id: number = nextId++;
  readonly shape: Shape;
  readonly dtype: DType;
  #primitive: Primitive;
  #inputs: readonly Tensor[];
  #params: unknown;
  #data: Data | undefined;
  #gone: string | undefined;

  /** Use the creation functions and methods; this constructor applies a primitive without broadcasting. */
  constructor(primitive: Primitive, inputs: readonly Tensor[], params: unknown, aval: Aval) {
    this.#primitive = primitive;
    this.#inputs = inputs;
    this.#params = params;
    this.shape = aval.shape;
    this.dtype = aval.dtype;
    remember(this);
    onCreate?.(this);
  }

  get primitive(): Primitive {
    return this.#primitive;
  }

  get inputs(): readonly Tensor[] {
    return this.#inputs;
  }

  get params(): unknown {
    return this.#params;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Bytes in a device buffer. */
  get bytes(): number {
    return this.size * bytesPerElement[this.dtype];
  }

  /** The realised elements, if there are any. @throws DisposedError if they were given up. */
  get realized(): Data | undefined {
    if (this.#gone !== undefined) {
      throw new DisposedError(
        `A tensor ${this.toString()} was used after it was ${this.#gone}. Keep a copy if you need it.`,
      );
    }
    return this.#data;
  }

  /** Gives the node its elements; the graph behind it is let go. The tensor owns one reference to the storage. */
  realize(data: Data): void {
    if (this.#data?.kind === "device") this.#release(this.#data.storage);
    this.#data = data;
    if (this.#primitive !== p.source) {
      this.#primitive = p.source as Primitive;
      this.#inputs = [];
      this.#params = { shape: this.shape, dtype: this.dtype };
    }
    if (data.kind === "device") releaseOnCollection.register(this, data.storage, this);
  }

  #release(storage: Storage): void {
    releaseOnCollection.unregister(this);
    storage.release();
  }

  /** Marks the tensor as unusable, for a reason that later errors will state. Its memory is released. */
  retire(reason: string): void {
    if (this.#gone !== undefined) return;
    this.#gone = reason;
    if (this.#data?.kind === "device") this.#release(this.#data.storage);
    this.#data = undefined;
  }

  /** Frees the memory now instead of when the garbage collector finds the tensor. Idempotent. */
  dispose(): void {
    this.retire("disposed");
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get disposed(): boolean {
    return this.#gone !== undefined;
  }

  /** The elements in row-major order; bool as 0 and 1, f16 as a Float32Array. */
  async data(): Promise<TypedArray> {
    const { read } = await import("./compiler/evaluate");
    return decodeElements(await read(this), this.size, this.dtype);
  }

  /** The elements as nested arrays; a number for a scalar. */
  async array(): Promise<NestedNumbers> {
    const data = await this.data();
    const build = (axis: number, offset: number): NestedNumbers => {
      if (axis === this.rank) return data[offset] as number;
      const stride = sizeOf(this.shape.slice(axis + 1));
      return Array.from({ length: this.shape[axis] as number }, (_, i) => build(axis + 1, offset + i * stride));
    };
    return build(0, 0);
  }

  /** The only element of a tensor of size 1. */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new ShapeError(`item: ${formatShape(this.shape)} has ${this.size} elements. Use data() or array().`);
    }
    return (await this.data())[0] as number;
  }

  toString(): string {
    return `${this.dtype} ${formatShape(this.shape)}`;
  }

  /** The same operation on other inputs of the same shapes and dtypes. */
  rebind(inputs: readonly Tensor[]): Tensor {
    return apply(this.#primitive, inputs, this.#params);
  }

  // Elementwise, two operands.

  #binary(primitive: Primitive<undefined>, other: Operand): Tensor {
    return applyBroadcast(primitive, [this, this.#operand(primitive.name, other)]);
  }

  #operand(operation: string, other: Operand): Tensor {
    return other instanceof Tensor ? other : constantLike(operation, this.dtype, other);
  }

  add(other: Operand): Tensor {
    return this.#binary(p.add, other);
  }
  sub(other: Operand): Tensor {
    return this.#binary(p.sub, other);
  }
  mul(other: Operand): Tensor {
    return this.#binary(p.mul, other);
  }
  /** Integers divide towards zero. */
  div(other: Operand): Tensor {
    return this.#binary(p.div, other);
  }
  /** The remainder with the sign of this tensor. */
  rem(other: Operand): Tensor {
    return this.#binary(p.rem, other);
  }
  /** Small integer exponents are products; other ones take `exp(y log x)`, and a negative base then gives NaN. */
  pow(exponent: Operand): Tensor {
    if (typeof exponent !== "number") return this.#binary(p.pow, exponent);
    if (exponent === 0.5) return this.sqrt();
    if (exponent === -0.5) return this.rsqrt();
    if (!Number.isInteger(exponent) || Math.abs(exponent) > 8) return this.#binary(p.pow, exponent);
    if (exponent < 0) return this.pow(-exponent).reciprocal();
    if (exponent === 0) return this.fullLike(1);
    const half = this.pow(Math.floor(exponent / 2));
    if (exponent === 1) return this;
    return exponent % 2 === 0 ? half.mul(half) : half.mul(half).mul(this);
  }
  /** NaN where one of the two is. */
  maximum(other: Operand): Tensor {
    return this.#binary(p.maximum, other);
  }
  /** NaN where one of the two is. */
  minimum(other: Operand): Tensor {
    return this.#binary(p.minimum, other);
  }
  equal(other: Operand): Tensor {
    return this.#binary(p.equal, other);
  }
  notEqual(other: Operand): Tensor {
    return this.#binary(p.notEqual, other);
  }
  less(other: Operand): Tensor {
    return this.#binary(p.less, other);
  }
  lessEqual(other: Operand): Tensor {
    return this.#binary(p.lessEqual, other);
  }
  greater(other: Operand): Tensor {
    return this.#binary(p.greater, other);
  }
  greaterEqual(other: Operand): Tensor {
    return this.#binary(p.greaterEqual, other);
  }
  and(other: Operand): Tensor {
    return this.#binary(p.and, other);
  }
  or(other: Operand): Tensor {
    return this.#binary(p.or, other);
  }
  xor(other: Operand): Tensor {
    return this.#binary(p.xor, other);
  }
  bitAnd(other: Operand): Tensor {
    return this.#binary(p.bitAnd, other);
  }
  bitOr(other: Operand): Tensor {
    return this.#binary(p.bitOr, other);
  }
  bitXor(other: Operand): Tensor {
    return this.#binary(p.bitXor, other);
  }
  /** The amount counts modulo 32. */
  shiftLeft(other: Operand): Tensor {
    return this.#binary(p.shiftLeft, other);
  }
  /** The amount counts modulo 32. */
  shiftRight(other: Operand): Tensor {
    return this.#binary(p.shiftRight, other);
  }

  /** For a bool tensor: `a` where true, `b` elsewhere. At least one of the two is a tensor, or both are numbers (f32). */
  where(a: Operand, b: Operand): Tensor {
    const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : "f32";
    const [left, right] = [a, b].map((x) => (x instanceof Tensor ? x : constantLike("where", dtype, x)));
    return applyBroadcast(p.select, [this, left as Tensor, right as Tensor]);
  }

  // Elementwise, one operand.

  #unary(primitive: Primitive<undefined>): Tensor {
    return apply(primitive as Primitive, [this], undefined);
  }

  neg(): Tensor {
    return this.#unary(p.neg);
  }
  abs(): Tensor {
    return this.#unary(p.abs);
  }
  sign(): Tensor {
    return this.#unary(p.sign);
  }
  floor(): Tensor {
    return this.#unary(p.floor);
  }
  ceil(): Tensor {
    return this.#unary(p.ceil);
  }
  /** Ties to even. */
  round(): Tensor {
    return this.#unary(p.round);
  }
  exp(): Tensor {
    return this.#unary(p.exp);
  }
  expm1(): Tensor {
    return this.#unary(p.expm1);
  }
  log(): Tensor {
    return this.#unary(p.log);
  }
  log1p(): Tensor {
    return this.#unary(p.log1p);
  }
  sin(): Tensor {
    return this.#unary(p.sin);
  }
  cos(): Tensor {
    return this.#unary(p.cos);
  }
  tan(): Tensor {
    return this.sin().div(this.cos());
  }
  tanh(): Tensor {
    return this.#unary(p.tanh);
  }
  sqrt(): Tensor {
    return this.#unary(p.sqrt);
  }
  rsqrt(): Tensor {
    return this.#unary(p.rsqrt);
  }
  reciprocal(): Tensor {
    return this.#unary(p.reciprocal);
  }
  square(): Tensor {
    return this.mul(this);
  }
  /** max(x, 0), with derivative 0 at 0; NaN stays NaN. */
  relu(): Tensor {
    return this.#unary(p.relu);
  }
  sigmoid(): Tensor {
    return this.#unary(p.sigmoid);
  }
  softplus(): Tensor {
    return this.#unary(p.softplus);
  }
  erf(): Tensor {
    return this.#unary(p.erf);
  }
  erfInv(): Tensor {
    return this.#unary(p.erfInv);
  }
  /** Neither NaN nor infinite, tested on the bits. */
  isFinite(): Tensor {
    return this.#unary(p.finite);
  }
  not(): Tensor {
    return this.#unary(p.not);
  }
  bitNot(): Tensor {
    return this.#unary(p.bitNot);
  }
  cast(dtype: DType): Tensor {
    return dtype === this.dtype ? this : apply(p.cast as Primitive, [this], { dtype });
  }
  /** The same 32 bits as another dtype. */
  bitcast(dtype: DType): Tensor {
    return dtype === this.dtype ? this : apply(p.bitcast as Primitive, [this], { dtype });
  }

  // Reductions.

  #reduce(
    primitive: Primitive<{ readonly axes: readonly number[] }>,
    { axis, keepDims = false }: ReduceOptions,
  ): Tensor {
    const axes = this.#axes(primitive.name, axis);
    const input = this.dtype === "bool" ? this.cast("i32") : this;
    const result = axes.length === 0 ? input : apply(primitive as Primitive, [input], { axes });
    return keepDims ? result.reshape(this.shape.map((extent, own) => (axes.includes(own) ? 1 : extent))) : result;
  }

  #axes(operation: string, axis: ReduceOptions["axis"]): number[] {
    if (axis !== "rest") return normalizeAxes(operation, axis, this.rank);
    return Array.from({ length: Math.max(0, this.rank - 1) }, (_, own) => own + 1);
  }

  /** The sum over axes; 0 over no elements. Bool counts as i32. */
  sum(options: ReduceOptions = {}): Tensor {
    return this.#reduce(p.sum, options);
  }
  prod(options: ReduceOptions = {}): Tensor {
    return this.#reduce(p.prod, options);
  }
  /** The largest element; NaN if one is. */
  max(options: ReduceOptions = {}): Tensor {
    return this.#reduce(p.max, options);
  }
  /** The smallest element; NaN if one is. */
  min(options: ReduceOptions = {}): Tensor {
    return this.#reduce(p.min, options);
  }
  mean(options: ReduceOptions = {}): Tensor {
    const count = this.#axes("mean", options.axis).reduce((product, axis) => product * (this.shape[axis] as number), 1);
    return inF32(this.#requireFloat("mean"), (x) => x.sum(options).mul(1 / count));
  }
  /** The mean squared deviation from the mean; nothing cancels. `correction` 1 gives the sample variance. */
  variance({ axis, keepDims = false, correction = 0 }: ReduceOptions & { readonly correction?: number } = {}): Tensor {
    const axes = this.#axes("variance", axis);
    const count = axes.reduce((product, own) => product * (this.shape[own] as number), 1);
    return inF32(this.#requireFloat("variance"), (x) =>
      x.squaredDeviations({ axis: axes, keepDims }).mul(1 / (count - correction)),
    );
  }
  /** Σ (x - mean)² over axes, with the mean over the same axes; one pass over memory however many elements there are. */
  squaredDeviations(options: ReduceOptions = {}): Tensor {
    const none = this.#axes("squaredDeviations", options.axis).length === 0;
    return none ? this.#requireFloat("squaredDeviations").zerosLike() : this.#reduce(p.squaredDeviations, options);
  }
  /** log Σ exp(x), without overflow. */
  logSumExp({ axis, keepDims = false }: ReduceOptions = {}): Tensor {
    const axes = this.#axes("logSumExp", axis);
    return inF32(this.#requireFloat("logSumExp"), (x) => {
      const largest = x.max({ axis: axes, keepDims: true }).stopGradient();
      const total = x.sub(largest).exp().sum({ axis: axes, keepDims: true }).log().add(largest);
      return keepDims ? total : total.squeeze(axes);
    });
  }
  /** Position of the first largest element, i32, NaN not counted. */
  argmax({ axis, keepDims = false }: { readonly axis: number; readonly keepDims?: boolean }): Tensor {
    return this.#reduce(p.argmax, { axis: normalizeAxis("argmax", axis, this.rank), keepDims });
  }
  argmin({ axis, keepDims = false }: { readonly axis: number; readonly keepDims?: boolean }): Tensor {
    return this.#reduce(p.argmin, { axis: normalizeAxis("argmin", axis, this.rank), keepDims });
  }
  /** Of a bool tensor: is any element true? */
  any(options: ReduceOptions = {}): Tensor {
    return this.cast("i32").sum(options).notEqual(0);
  }
  /** Of a bool tensor: are all elements true? */
  all(options: ReduceOptions = {}): Tensor {
    return this.not().any(options).not();
  }
  /** Sums up to and including each element along `axis`; in reverse, from each element to the end. */
  cumsum({ axis, reverse = false }: { readonly axis: number; readonly reverse?: boolean }): Tensor {
    return apply(p.cumsum as Primitive, [this], { axis: normalizeAxis("cumsum", axis, this.rank), reverse });
  }

  // Order.

  /** Positions, i32, of the elements along `axis` in ascending or descending order; stable, NaN last, -0 equals 0. */
  argsort({ axis, descending = false }: SortOptions): Tensor {
    return apply(p.argsort as Primitive, [this], { axis: normalizeAxis("argsort", axis, this.rank), descending });
  }
  /** The elements along `axis` in ascending or descending order, NaN last. */
  sort({ axis, descending = false }: SortOptions): Tensor {
    return apply(p.sort as Primitive, [this], { axis: normalizeAxis("sort", axis, this.rank), descending });
  }
  /** The `k` largest elements along `axis` in descending order, and their positions, i32; of equal ones the first. */
  topK(k: number, { axis }: { readonly axis: number }): { readonly values: Tensor; readonly indices: Tensor } {
    const own = normalizeAxis("topK", axis, this.rank);
    const extent = this.shape[own] as number;
    if (!Number.isInteger(k) || k < 0 || k > extent) {
      throw new ArgumentError(`topK: k is ${k}, axis ${axis} of ${formatShape(this.shape)} has ${extent} elements.`);
    }
    const indices = apply(p.topOrder as Primitive, [this], { axis: own, k });
    return { values: this.gatherAlong(indices, { axis: own }), indices };
  }

  #requireFloat(operation: string): Tensor {
    if (isFloat(this.dtype)) return this;
    throw new DTypeError(`${operation}: takes floats, got ${this.dtype}. Cast first: x.cast("f32").`);
  }

  // Movement: views that cost nothing.

  /** The same elements under another shape; one extent may be -1. */
  reshape(shape: Shape): Tensor {
    const open = shape.indexOf(-1);
    let target = shape;
    if (open >= 0) {
      const known = shape.reduce((product, extent, axis) => (axis === open ? product : product * extent), 1);
      target = shape.map((extent, axis) => (axis === open ? this.size / known : extent));
      if (!Number.isInteger(this.size / known)) {
        throw new ShapeError(
          `reshape: ${formatShape(this.shape)} (${this.size} elements) does not fit ${formatShape(shape)}.`,
        );
      }
    }
    return sameShape(target, this.shape) ? this : apply(p.reshape as Primitive, [this], { shape: target });
  }
  flatten(): Tensor {
    return this.reshape([this.size]);
  }
  /** Axis i of the result is axis `axes[i]`. */
  permute(axes: readonly number[]): Tensor {
    const order = axes.map((axis) => normalizeAxis("permute", axis, this.rank));
    if (order.length === this.rank && order.every((axis, position) => axis === position)) return this;
    return apply(p.permute as Primitive, [this], { axes: order });
  }
  /** All axes in reverse order. */
  get T(): Tensor {
    return this.permute(this.shape.map((_, axis) => this.rank - 1 - axis));
  }
  /** Exchanges two axes, by default the last two. */
  transpose(a = -2, b = -1): Tensor {
    const [first, second] = [normalizeAxis("transpose", a, this.rank), normalizeAxis("transpose", b, this.rank)];
    return this.permute(this.shape.map((_, axis) => (axis === first ? second : axis === second ? first : axis)));
  }
  moveAxis(from: number, to: number): Tensor {
    const [source, target] = [normalizeAxis("moveAxis", from, this.rank), normalizeAxis("moveAxis", to, this.rank)];
    const order = this.shape.map((_, axis) => axis).filter((axis) => axis !== source);
    order.splice(target, 0, source);
    return this.permute(order);
  }
  /** Repeats axes of extent 1, and adds axes in front, as broadcasting does. */
  expand(shape: Shape): Tensor {
    if (sameShape(shape, this.shape)) return this;
    const missing = shape.length - this.rank;
    if (missing < 0) {
      throw new ShapeError(`expand: ${formatShape(this.shape)} has more axes than ${formatShape(shape)}.`);
    }
    const aligned = this.reshape([...Array<number>(missing).fill(1), ...this.shape]);
    return sameShape(shape, aligned.shape) ? aligned : apply(p.expand as Primitive, [aligned], { shape });
  }
  expandDims(axis: number): Tensor {
    const position = normalizeAxis("expandDims", axis, this.rank + 1);
    return this.reshape([...this.shape.slice(0, position), 1, ...this.shape.slice(position)]);
  }
  /** Removes axes of extent 1, by default all of them. */
  squeeze(axis?: Axes): Tensor {
    const ones = this.shape.flatMap((extent, own) => (extent === 1 ? [own] : []));
    const axes = axis === undefined ? ones : normalizeAxes("squeeze", axis, this.rank);
    const wrong = axes.find((own) => this.shape[own] !== 1);
    if (wrong !== undefined) {
      throw new ShapeError(
        `squeeze: axis ${wrong} of ${formatShape(this.shape)} has extent ${this.shape[wrong]}, not 1.`,
      );
    }
    return this.reshape(this.shape.filter((_, own) => !axes.includes(own)));
  }
  /** One `[low, high]` pair of counts per axis. */
  pad(
    pairs: readonly (readonly [number, number] | readonly number[])[],
    { value = 0 }: { readonly value?: number } = {},
  ): Tensor {
    return this.padInterior(
      pairs.map(([low = 0, high = 0]) => ({ low, high, interior: 0 })),
      value,
    );
  }
  /** {@link Tensor.pad} that can also put elements between neighbours. */
  padInterior(axes: readonly PadAxis[], value: number): Tensor {
    if (
      axes.length === this.rank &&
      axes.every(({ low, high, interior }) => low === 0 && high === 0 && interior === 0)
    ) {
      return this;
    }
    checkConstant("pad", this.dtype, value);
    return apply(p.pad as Primitive, [this], { axes, value });
  }
  /**
   * From `starts` up to, not including, `ends`, per axis. Negative positions count from the end; missing ones keep the
   * axis whole.
   */
  slice(starts: readonly number[], ends: readonly number[] = [], steps: readonly number[] = []): Tensor {
    const position = (value: number | undefined, extent: number, missing: number) =>
      value === undefined ? missing : value < 0 ? value + extent : value;
    const params = {
      starts: this.shape.map((extent, axis) => position(starts[axis], extent, 0)),
      ends: this.shape.map((extent, axis) => position(ends[axis], extent, extent)),
      steps: this.shape.map((_, axis) => steps[axis] ?? 1),
    };
    const whole = this.shape.every(
      (extent, axis) => params.starts[axis] === 0 && params.ends[axis] === extent && params.steps[axis] === 1,
    );
    return whole ? this : apply(p.slice as Primitive, [this], params);
  }
  flip(axes: Axes): Tensor {
    return apply(p.flip as Primitive, [this], { axes: normalizeAxes("flip", axes, this.rank) });
  }
  windowed(params: WindowParams): Tensor {
    return apply(p.windowed as Primitive, [this], params);
  }
  unwindowed(params: WindowParams): Tensor {
    return apply(p.unwindowed as Primitive, [this], params);
  }

  // Contraction, gather, scatter.

  /**
   * Sums products over paired axes. Default: the last axis of this tensor with the first of `other`.
   * Result axes: batch, free axes of this tensor, free axes of `other`.
   */
  dot(other: Tensor, { batch = [[], []], contract }: DotOptions = {}): Tensor {
    const normalize = (pairs: DotParams["batch"]): DotParams["batch"] => [
      pairs[0].map((axis) => normalizeAxis("dot", axis, this.rank)),
      pairs[1].map((axis) => normalizeAxis("dot", axis, other.rank)),
    ];
    const params: DotParams = {
      batch: normalize(batch),
      contract: normalize(contract ?? (this.rank === 0 || other.rank === 0 ? [[], []] : [[this.rank - 1], [0]])),
    };
    return apply(p.dot as Primitive, [this, other], params);
  }
  /** NumPy's matmul: matrices in the last two axes, leading axes broadcast. */
  matmul(other: Tensor): Tensor {
    if (this.rank === 0 || other.rank === 0)
      throw new ShapeError("matmul: a scalar has no axes to multiply over. Use mul.");
    if (this.rank <= 2 && other.rank <= 2) return this.dot(other);
    if (other.rank <= 2) return this.dot(other, { contract: [[this.rank - 1], [Math.max(0, other.rank - 2)]] });
    if (this.rank === 1) return this.expandDims(0).matmul(other).squeeze([-2]);
    const leading = broadcastShapes("matmul", [this.shape.slice(0, -2), other.shape.slice(0, -2)]);
    const a = this.expand([...leading, ...this.shape.slice(-2)]);
    const b = other.expand([...leading, ...other.shape.slice(-2)]);
    const batch = leading.map((_, axis) => axis);
    return a.dot(b, { batch: [batch, batch], contract: [[a.rank - 1], [b.rank - 2]] });
  }
  /** Slices along `axis` at integer positions, which are clamped to the axis. */
  gather(indices: Tensor, { axis }: { readonly axis: number }): Tensor {
    return apply(p.gather as Primitive, [this, indices], { axis: normalizeAxis("gather", axis, this.rank) });
  }
  /** For every row along `axis` its own elements at integer positions `[…pre, k, …post]`, clamped to the axis. */
  gatherAlong(indices: Tensor, { axis }: { readonly axis: number }): Tensor {
    const own = normalizeAxis("gatherAlong", axis, this.rank);
    const fits = indices.rank === this.rank && indices.shape.every((size, i) => i === own || size === this.shape[i]);
    if (!fits) {
      throw new ShapeError(
        `gatherAlong: ${formatShape(this.shape)} and indices ${formatShape(indices.shape)} differ outside of axis ${axis}.`,
      );
    }
    const [x, at] = [this.moveAxis(own, -1), indices.moveAxis(own, -1)];
    const extent = this.shape[own] as number;
    const rows = at.reshape([sizeOf(at.shape.slice(0, -1)), at.shape[at.rank - 1] as number]);
    const inside = (rows.dtype === "u32" ? rows : rows.maximum(0)).minimum(Math.max(0, extent - 1));
    const taken = x.flatten().gather(inside.add(rows.iotaLike(0).mul(extent)), { axis: 0 });
    return taken.reshape(at.shape).moveAxis(-1, own);
  }
  /** This tensor plus `updates` summed in at integer positions along `axis`; positions outside are dropped. */
  scatterAdd(indices: Tensor, updates: Tensor, { axis }: { readonly axis: number }): Tensor {
    const own = normalizeAxis("scatterAdd", axis, this.rank);
    return this.add(updates.scatterSum(indices, { axis: own, extent: this.shape[own] as number }));
  }
  /** Sums slices of this tensor into zeros with `extent` positions along `axis`. */
  scatterSum(indices: Tensor, params: { readonly axis: number; readonly extent: number }): Tensor {
    return apply(p.scatterSum as Primitive, [this, indices], params);
  }

  // Tensors like this one.

  fullLike(value: number | boolean): Tensor {
    return full(this.shape, value, { dtype: this.dtype });
  }
  zerosLike(): Tensor {
    return this.fullLike(0);
  }
  onesLike(): Tensor {
    return this.fullLike(1);
  }
  /** The coordinate along `axis`; integers unless this tensor is of floats. */
  iotaLike(axis: number, dtype: DType = isInteger(this.dtype) ? this.dtype : "i32"): Tensor {
    return iota(this.shape, axis, dtype);
  }

  // For transformations and lowerings.

  /** Applies any primitive; records, which are what this module is made of, do it through a tensor. */
  bind<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor {
    return apply(primitive as Primitive, inputs, params);
  }

  /** A constant for every derivative. */
  stopGradient(): Tensor {
    return this.#unary(p.stopGradient);
  }
}

/** Applies a primitive to inputs that already fit it. */
export function apply(primitive: Primitive, inputs: readonly Tensor[], params: unknown): Tensor {
  for (const input of inputs) {
    if (input.disposed) void input.realized;
  }
  return new Tensor(primitive, inputs, params, primitive.shape(inputs, params));
}

/** Applies an elementwise primitive after broadcasting the operands to one shape. */
export function applyBroadcast<P = undefined>(
  primitive: Primitive<P>,
  operands: readonly Tensor[],
  params?: P,
): Tensor {
  const shape = broadcastShapes(
    primitive.name,
    operands.map((operand) => operand.shape),
  );
  return apply(
    primitive as Primitive,
    operands.map((operand) => operand.expand(shape)),
    params,
  );
}

function checkConstant(operation: string, dtype: DType, value: number | boolean): void {
  if (isInteger(dtype) && !Number.isInteger(Number(value))) {
    throw new DTypeError(`${operation}: ${value} is no ${dtype}. Cast the tensor first: x.cast("f32").`);
  }
}

function constantLike(operation: string, dtype: DType, value: number | boolean): Tensor {
  checkConstant(operation, dtype, value);
  return full([], value, { dtype });
}

/** One value in every element. */
export function full(
  shape: Shape,
  value: number | boolean,
  { dtype = "f32" }: { readonly dtype?: DType } = {},
): Tensor {
  checkShape("full", shape);
  checkConstant("full", dtype, value);
  return apply(p.full as Primitive, [], { shape, dtype, value: Number(value) });
}

/** The coordinate along `axis` in every element. */
export function iota(shape: Shape, axis: number, dtype: DType = "i32"): Tensor {
  checkShape("iota", shape);
  if (dtype === "bool") throw new DTypeError('iota: coordinates are numbers, not bool. Choose "i32".');
  return apply(p.iota as Primitive, [], { shape, dtype, axis: normalizeAxis("iota", axis, shape.length) });
}

/** `fn` on f32 for a tensor of halves, which are storage only: what lies between would overflow them. */
export const inF32 = (x: Tensor, fn: (x: Tensor) => Tensor): Tensor =>
  x.dtype === "f16" ? fn(x.cast("f32")).cast("f16") : fn(x);

/** `condition ? a : b` with broadcasting. */
export const where = (condition: Tensor, a: Operand, b: Operand): Tensor => condition.where(a, b);

/** Joins along an existing axis. */
export function concat(tensors: readonly Tensor[], { axis = 0 }: { readonly axis?: number } = {}): Tensor {
  const [first] = tensors;
  if (first === undefined) throw new ArgumentError("concat: no tensor given. Give at least one.");
  return apply(p.concat as Primitive, tensors, { axis: normalizeAxis("concat", axis, first.rank) });
}

/** Joins along a new axis. */
export function stack(tensors: readonly Tensor[], { axis = 0 }: { readonly axis?: number } = {}): Tensor {
  const [first] = tensors;
  if (first === undefined) throw new ArgumentError("stack: no tensor given. Give at least one.");
  const position = normalizeAxis("stack", axis, first.rank + 1);
  return concat(
    tensors.map((tensor) => tensor.expandDims(position)),
    { axis: position },
  );
}

/** The input under a new identity, for transformations. */
export const identity = (x: Tensor): Tensor => apply(p.identity as Primitive, [x], undefined);

/** The input under a new identity, computed from after `cause` is: see primitives/after.ts. */
export const after = (x: Tensor, cause: Tensor): Tensor => apply(p.after as Primitive, [x, cause], undefined);

/** The input as a constant for every derivative. */
export const stopGradient = (x: Tensor): Tensor => x.stopGradient();

/** An argument of a function that is being traced: it has a shape and no elements. */
export const placeholder = (shape: Shape, dtype: DType): Tensor =>
  apply(p.placeholder as Primitive, [], { shape, dtype });

/** Threefry2x32-20 on the two words of a key and the two of a counter, all u32 of one shape. */
export const threefry = (words: readonly [Tensor, Tensor, Tensor, Tensor], word: ThreefryWord): Tensor =>
  applyBroadcast(p.threefry, words, { word });

/** Where the keyed permutation of 0 … count - 1 sends u32 positions. */
export const shuffled = (first: Tensor, second: Tensor, positions: Tensor, count: number): Tensor =>
  applyBroadcast(p.shuffle, [first, second, positions], { count });

/** A realised tensor on the host; the bytes are taken over, not copied. */
export function fromBytes(bytes: ArrayBuffer, shape: Shape, dtype: DType): Tensor {
  invariant(bytes.byteLength >= sizeOf(shape) * bytesPerElement[dtype], "host data cover the shape");
  const tensor = apply(p.source as Primitive, [], { shape, dtype });
  tensor.realize({ kind: "host", bytes });
  return tensor;
}
