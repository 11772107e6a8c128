import { apply, formatShape, invariant, isFloat, type Primitive, sameShape, type Tensor } from "@thalweg/tensor";

/**
 * One applied primitive. Noted when a transformation looks at the graph, because a node that is realised later lets
 * its inputs go.
 */
export interface Equation {
  readonly output: Tensor;
  readonly primitive: Primitive;
  readonly inputs: readonly Tensor[];
  readonly params: unknown;
}

/** Derivatives flow through floats only: integers and booleans are constant almost everywhere. */
const carriesDerivative = (tensor: Tensor): boolean => isFloat(tensor.dtype);

/**
 * The equations on paths from `roots` to `outputs`, inputs before what is made of them.
 *
 * Ids grow in the order of creation, so what is older than all roots cannot depend on them: the walk never looks at
 * the graph behind the arguments, however long it is.
 *
 * @param follows which tensors a path may run through.
 */
export function equationsBetween(
  roots: readonly Tensor[],
  outputs: readonly Tensor[],
  follows: (tensor: Tensor) => boolean = () => true,
): Equation[] {
  const dependent = new Set(roots);
  const oldest = roots.reduce((least, root) => Math.min(least, root.id), Number.POSITIVE_INFINITY);
  const reached = new Set<Tensor>();
  const pending = [...outputs];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (next.id < oldest || dependent.has(next) || reached.has(next)) continue;
    reached.add(next);
    for (const input of next.inputs) pending.push(input);
  }
  const equations: Equation[] = [];
  for (const output of [...reached].sort((a, b) => a.id - b.id)) {
    const { primitive, inputs, params } = output;
    if (follows(output) && inputs.some((input) => dependent.has(input))) {
      dependent.add(output);
      equations.push({ output, primitive, inputs, params });
    }
  }
  return equations;
}

/** Maps cotangents of the outputs to cotangents of the roots; null is zero. */
export type Pullback = (cotangents: readonly (Tensor | null)[]) => (Tensor | null)[];

/**
 * Reverse mode: the graph between roots and outputs is noted now and walked backwards on every call.
 * Cotangents that meet are added in the fixed order of the walk, so that results are the same in every run.
 */
export function pullback(roots: readonly Tensor[], outputs: readonly Tensor[]): Pullback {
  const equations = equationsBetween(roots, outputs, carriesDerivative);
  const active = new Set([...roots, ...equations.map(({ output }) => output)]);
  return (cotangents) => {
    const flowing = new Map<Tensor, Tensor>();
    const accumulate = (tensor: Tensor, cotangent: Tensor): void => {
      const other = flowing.get(tensor);
      flowing.set(tensor, other === undefined ? cotangent : other.add(cotangent));
    };
    outputs.forEach((output, index) => {
      const cotangent = cotangents[index];
      if (cotangent && active.has(output)) accumulate(output, cotangent);
    });
    for (let position = equations.length - 1; position >= 0; position--) {
      const { output, primitive, inputs, params } = equations[position] as Equation;
      const cotangent = flowing.get(output);
      if (cotangent === undefined) continue;
      flowing.delete(output);
      const results = primitive.vjp(cotangent, { inputs, output, params });
      inputs.forEach((input, index) => {
        const result = results[index];
        if (!result || !active.has(input)) return;
        checkRule(primitive, "vjp", result, input);
        accumulate(input, result);
      });
    }
    return roots.map((root) => flowing.get(root) ?? null);
  };
}

/** Forward mode: tangents of the outputs from tangents of the roots; null is zero. */
export function pushForward(
  roots: readonly Tensor[],
  outputs: readonly Tensor[],
  tangents: readonly (Tensor | null)[],
): (Tensor | null)[] {
  const flowing = new Map<Tensor, Tensor>();
  roots.forEach((root, index) => {
    const tangent = tangents[index];
    if (tangent) flowing.set(root, tangent);
  });
  for (const { output, primitive, inputs, params } of equationsBetween(roots, outputs, carriesDerivative)) {
    const incoming = inputs.map((input) => flowing.get(input) ?? null);
    if (incoming.every((tangent) => tangent === null)) continue;
    const tangent = primitive.jvp(incoming, { inputs, output, params });
    if (tangent === null) continue;
    checkRule(primitive, "jvp", tangent, output);
    flowing.set(output, tangent);
  }
  return outputs.map((output) => flowing.get(output) ?? null);
}

function checkRule(primitive: Primitive, rule: string, result: Tensor, like: Tensor): void {
  invariant(
    sameShape(result.shape, like.shape) && result.dtype === like.dtype,
    `the ${rule} of ${primitive.name} gave ${result.dtype} ${formatShape(result.shape)} for ${like.dtype} ${formatShape(like.shape)}`,
  );
}

/** The equations once more on other roots of the same shapes. What does not depend on the roots is shared. */
export function replay(
  equations: readonly Equation[],
  roots: readonly Tensor[],
  outputs: readonly Tensor[],
  values: readonly Tensor[],
): Tensor[] {
  const replaced = new Map<Tensor, Tensor>();
  roots.forEach((root, index) => replaced.set(root, values[index] as Tensor));
  for (const { output, primitive, inputs, params } of equations) {
    replaced.set(
      output,
      apply(
        primitive,
        inputs.map((input) => replaced.get(input) ?? input),
        params,
      ),
    );
  }
  return outputs.map((output) => replaced.get(output) ?? output);
}

/**
 * The equations once more on roots with one more axis in front, through the batching rules. Outputs that do not
 * depend on the roots are null.
 */
export function replayBatched(
  equations: readonly Equation[],
  roots: readonly Tensor[],
  outputs: readonly Tensor[],
  values: readonly Tensor[],
  size: number,
): (Tensor | null)[] {
  const replaced = new Map<Tensor, Tensor>();
  roots.forEach((root, index) => replaced.set(root, values[index] as Tensor));
  for (const { output, primitive, inputs, params } of equations) {
    const batched = inputs.map((input) => replaced.has(input));
    const result = primitive.batch(
      inputs.map((input) => replaced.get(input) ?? input),
      { batched, params, size, bind: (operands, own) => apply(primitive, operands, own) },
    );
    invariant(
      sameShape(result.shape, [size, ...output.shape]) && result.dtype === output.dtype,
      `the batching rule of ${primitive.name} gave ${formatShape(result.shape)} for ${size} times ${formatShape(output.shape)}`,
    );
    replaced.set(output, result);
  }
  return outputs.map((output) => replaced.get(output) ?? null);
}
