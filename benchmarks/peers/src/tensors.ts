/** A tensor on the host, row-major. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
}

/** Tensors by name. Names with dots are paths: `block0.query.kernel`. */
export type HostTensors = Readonly<Record<string, HostTensor>>;

/** Number of elements of a shape. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** Reorders the axes: axis `i` of the result is axis `order[i]` of the input. */
export function transpose({ shape, values }: HostTensor, order: readonly number[]): HostTensor {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const extents = order.map((axis) => shape[axis] ?? 1);
  const steps = order.map((axis) => strides[axis] ?? 0);
  const result = values instanceof Float32Array ? new Float32Array(values.length) : new Int32Array(values.length);
  const position = extents.map(() => 0);
  let from = 0;
  for (let index = 0; index < result.length; index++) {
    result[index] = values[from] ?? Number.NaN;
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      const next = (position[axis] ?? 0) + 1;
      from += steps[axis] ?? 0;
      position[axis] = next;
      if (next < (extents[axis] ?? 1)) break;
      from -= next * (steps[axis] ?? 0);
      position[axis] = 0;
    }
  }
  return { shape: extents, values: result };
}

/** The same elements in another shape. */
export const reshape = ({ values }: HostTensor, shape: readonly number[]): HostTensor => ({ shape, values });

/** The tree that names with dots stand for: `{ "a.b": 1 }` is `{ a: { b: 1 } }`. */
export function nest<T>(leaves: Readonly<Record<string, T>>): object {
  const root: Record<string, unknown> = {};
  for (const [path, leaf] of Object.entries(leaves)) {
    const names = path.split(".");
    let node = root;
    for (const name of names.slice(0, -1)) {
      node[name] ??= {};
      node = node[name] as Record<string, unknown>;
    }
    node[names.at(-1) ?? path] = leaf;
  }
  return root;
}

/** Applies a function to every tensor. */
export const mapTensors = <T, R>(
  tensors: Readonly<Record<string, T>>,
  fn: (tensor: T, name: string) => R,
): Record<string, R> => Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, fn(tensor, name)]));
