import { concat, type Tensor } from "@thalweg/tensor";

/** How a tensor is cut into blocks, each a problem of its own. */
export interface Blocking {
  /** The shape that is cut: without axes of length 1, and with neighbours merged. */
  readonly merged: readonly number[];
  /** The shapes of the blocks, in the order in which {@link cut} gives them. */
  readonly shapes: readonly (readonly number[])[];
  cut(x: Tensor): Tensor[];
  /** What {@link cut} has cut. */
  join(blocks: readonly Tensor[]): Tensor;
}

/**
 * Drops axes of length 1, merges neighbours from the left while their product is at most `size`, and cuts every axis into
 * parts of at most `size`. A scalar is a vector of length 1.
 */
export function blockingOf(shape: readonly number[], size: number, merges: boolean): Blocking {
  const long = shape.filter((length) => length !== 1);
  const merged = long.reduce<number[]>((done, length) => {
    const last = done.at(-1);
    if (merges && last !== undefined && last * length <= size) done[done.length - 1] = last * length;
    else done.push(length);
    return done;
  }, []);
  if (merged.length === 0) merged.push(1);
  const parts = merged.map((length) => {
    const starts = Array.from({ length: Math.ceil(length / size) }, (_, index) => index * size);
    return starts.map((start) => [start, Math.min(start + size, length)] as const);
  });
  const corners = parts.reduce<(readonly (readonly [number, number])[])[]>(
    (done, axis) => done.flatMap((before) => axis.map((part) => [...before, part])),
    [[]],
  );
  const isWhole = corners.length === 1;
  return {
    merged,
    shapes: corners.map((corner) => corner.map(([start, end]) => end - start)),
    cut(x) {
      const whole = x.reshape(merged);
      if (isWhole) return [whole];
      return corners.map((corner) =>
        whole.slice(
          corner.map(([start]) => start),
          corner.map(([, end]) => end),
        ),
      );
    },
    join(blocks) {
      let joined = [...blocks];
      for (let axis = parts.length - 1; axis >= 0; axis--) {
        const count = (parts[axis] as readonly unknown[]).length;
        joined = Array.from({ length: joined.length / count }, (_, index) => {
          const own = joined.slice(index * count, (index + 1) * count);
          return own.length === 1 ? (own[0] as Tensor) : concat(own, { axis });
        });
      }
      return (joined[0] as Tensor).reshape(shape);
    },
  };
}
