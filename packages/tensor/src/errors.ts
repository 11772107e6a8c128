/** The machine-readable kind of a {@link ThalwegError}. */
export type ErrorCode =
  | "shape"
  | "dtype"
  | "argument"
  | "non-finite"
  | "disposed"
  | "unsupported"
  | "out-of-memory"
  | "device-lost"
  | "shader"
  | "validation"
  | "internal";

/**
 * The base class of every error this library throws.
 *
 * The message names the operation, what is wrong, the values, and the way out. `code` is stable and can be
 * switched on; `cause` keeps the error underneath, where there is one.
 */
export class ThalwegError extends Error {
  /** The stable, machine-readable kind of the error. */
  readonly code: ErrorCode | (string & {});

  constructor(code: ErrorCode | (string & {}), message: string, options?: ErrorOptions) {
    super(message, options);
    // A plain `name` on the instance, not the constructor's, because minifiers rename classes.
    this.name = "ThalwegError";
    this.code = code;
  }
}

/** Shapes or axes do not fit together. */
export class ShapeError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("shape", message, options);
    this.name = "ShapeError";
  }
}

/** An operand has an element type that the operation does not take. */
export class DTypeError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("dtype", message, options);
    this.name = "DTypeError";
  }
}

/** An argument or option has a value outside its valid range. */
export class ArgumentError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("argument", message, options);
    this.name = "ArgumentError";
  }
}

/** A value that has to be finite is NaN or infinite. */
export class NonFiniteError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("non-finite", message, options);
    this.name = "NonFiniteError";
  }
}

/** A tensor, buffer or device is used after it was disposed or donated. */
export class DisposedError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("disposed", message, options);
    this.name = "DisposedError";
  }
}

/** The device, the adapter or the runtime cannot do what is asked. */
export class UnsupportedError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("unsupported", message, options);
    this.name = "UnsupportedError";
  }
}

/** Byte counts that go with an {@link OutOfMemoryError}. */
export interface OutOfMemoryDetails {
  /** Bytes that were asked for. */
  readonly requestedBytes: number;
  /** Bytes in use on the device when the request was made. */
  readonly liveBytes: number;
  /** The limit that was exceeded in bytes, or `undefined` if the driver refused without naming one. */
  readonly limitBytes?: number | undefined;
}

/** The device has too little memory, or a single buffer would exceed its limit. */
export class OutOfMemoryError extends ThalwegError implements OutOfMemoryDetails {
  readonly requestedBytes: number;
  readonly liveBytes: number;
  readonly limitBytes: number | undefined;

  constructor(message: string, details: OutOfMemoryDetails, options?: ErrorOptions) {
    super("out-of-memory", message, options);
    this.name = "OutOfMemoryError";
    this.requestedBytes = details.requestedBytes;
    this.liveBytes = details.liveBytes;
    this.limitBytes = details.limitBytes;
  }
}

/** The GPU device is gone: destroyed, reset by its driver, or unplugged. Everything that lived on it is lost. */
export class DeviceLostError extends ThalwegError {
  constructor(message: string, options?: ErrorOptions) {
    super("device-lost", message, options);
    this.name = "DeviceLostError";
  }
}

/**
 * Prints a shape as messages show it: `[128, 784]`, and `[]` for a scalar.
 *
 * @param shape - Axis sizes, outermost first.
 */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/**
 * The candidate that a misspelt name most likely meant, or `undefined` if none is close.
 *
 * Close means: at most a third of the longer name's letters (and at least one) differ, counting an insertion, a
 * deletion, a substitution or a swap of neighbours as one difference (the optimal string alignment distance) and
 * ignoring case. Ties go to the earlier candidate.
 *
 * @param name - What the user wrote.
 * @param candidates - The names that exist.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = name.toLowerCase();
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const allowed = Math.max(1, Math.floor(Math.max(name.length, candidate.length) / 3));
    const distance = alignmentDistance(wanted, candidate.toLowerCase());
    if (distance <= allowed && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Optimal string alignment distance: edits that turn `a` into `b`, with swaps of neighbours, row by row. */
function alignmentDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let distance = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) distance = Math.min(distance, (beforePrevious[column - 2] ?? 0) + 1);
      current.push(distance);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/**
 * States a fact that holds whatever the user does. A failure is a defect of Thalweg, not of the program that uses it.
 */
export function invariant(condition: unknown, fact: string): asserts condition {
  if (!condition) throw new ThalwegError("internal", `Internal error: ${fact}. Please report this.`);
}
