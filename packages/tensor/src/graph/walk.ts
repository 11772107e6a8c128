/**
 * Walks over graphs that apply the rules of primitives: reverse mode, forward mode, batching. The transformations of
 * packages/autograd are made of them, and so are the rules of loops, whose bodies are graphs.
 */
import { isFloat } from "../dtype";
import { formatShape, invariant } from "../errors";
import type { Primitive } from "../primitives/definition";
import { sameShape } from "../shape";
import { apply, type Tensor } from "../tensor";

/**
 * One applied primitive. Noted when a transformation looks at the graph, because a node that is realised later lets
 * its inputs go. Results of one joint computation (see {@link Primitive.joint}) are one equation.
 */
export interface Equation {
  readonly outputs: readonly Tensor[];
  readonly primitive: Primitive;
  readonly inputs: readonly Tensor[];
  /** One per output. */
  readonly params: readonly unknown[];
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
    if (!follows(output) || !inputs.some((input) => dependent.has(input))) continue;
    dependent.add(output);
    const before = equations.at(-1);
    if (before !== undefined && isSameComputation(before, output)) {
      equations[equations.length - 1] = {
        ...before,
        outputs: [...before.outputs, output],
        params: [...before.params, params],
      };
    } else equations.push({ outputs: [output], primitive, inputs, params: [params] });
  }
  return equations;
}

function isSameComputation(before: Equation, output: Tensor): boolean {
  const { joint } = before.primitive;
  return (
    joint !== undefined &&
    output.primitive === before.primitive &&
    joint.computation(output.params) === joint.computation(before.params[0]) &&
    output.inputs.length === before.inputs.length &&
    output.inputs.every((input, index) => input === before.inputs[index])
  );
}

function applyVjp(
  { primitive, inputs, outputs, params }: Equation,
  cotangents: readonly (Tensor | null)[],
): readonly (Tensor | null)[] {
  if (primitive.joint) return primitive.joint.vjp(cotangents, { inputs, outputs, params });
  return primitive.vjp(cotangents[0] as Tensor, { inputs, output: outputs[0] as Tensor, params: params[0] });
}

function applyJvp(
  { primitive, inputs, outputs, params }: Equation,
  tangents: readonly (Tensor | null)[],
): readonly (Tensor | null)[] {
  if (primitive.joint) return primitive.joint.jvp(tangents, { inputs, outputs, params });
  return [primitive.jvp(tangents, { inputs, output: outputs[0] as Tensor, params: params[0] })];
}

/** Maps cotangents of the outputs to cotangents of the roots, then of what was observed; null is zero. */
export type Pullback = (cotangents: readonly (Tensor | null)[]) => (Tensor | null)[];

/**
 * Reverse mode: the graph between roots and outputs is noted now and walked backwards on every call.
 * Cotangents that meet are added in the fixed order of the walk, so that results are the same in every run.
 *
 * @param observed tensors on the way whose cotangents are wanted as well. Other than a root, what is observed does not
 *   end the walk: what it was made of gets its cotangents too.
 */
export function pullback(
  roots: readonly Tensor[],
  outputs: readonly Tensor[],
  observed: readonly Tensor[] = [],
): Pullback {
  const isObserved = new Set(observed);
  const equations = equationsBetween(roots, outputs, carriesDerivative);
  const active = new Set([...roots, ...equations.flatMap((equation) => equation.outputs)]);
  return (cotangents) => {
    const flowing = new Map<Tensor, Tensor>();
    const seen = new Map<Tensor, Tensor>();
    const accumulate = (tensor: Tensor, cotangent: Tensor): void => {
      const other = flowing.get(tensor);
      flowing.set(tensor, other === undefined ? cotangent : other.add(cotangent));
    };
    outputs.forEach((output, index) => {
      const cotangent = cotangents[index];
      if (cotangent && active.has(output)) accumulate(output, cotangent);
    });
    for (let position = equations.length - 1; position >= 0; position--) {
      const equation = equations[position] as Equation;
      const { primitive, inputs } = equation;
      const incoming = equation.outputs.map((output) => flowing.get(output) ?? null);
      if (incoming.every((cotangent) => cotangent === null)) continue;
      for (const output of equation.outputs) {
        // Everything that reads an output comes after it: its cotangent is complete.
        const complete = flowing.get(output);
        if (complete !== undefined && isObserved.has(output)) seen.set(output, complete);
        flowing.delete(output);
      }
      const results = applyVjp(equation, incoming);
      inputs.forEach((input, index) => {
        const result = results[index];
        if (!result || !active.has(input)) return;
        checkRule(primitive, "vjp", result, input);
        accumulate(input, result);
      });
    }
    return [
      ...roots.map((root) => flowing.get(root) ?? null),
      ...observed.map((tensor) => seen.get(tensor) ?? flowing.get(tensor) ?? null),
    ];
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
  for (const equation of equationsBetween(roots, outputs, carriesDerivative)) {
    const incoming = equation.inputs.map((input) => flowing.get(input) ?? null);
    if (incoming.every((tangent) => tangent === null)) continue;
    const outgoing = applyJvp(equation, incoming);
    for (const [index, output] of equation.outputs.entries()) {
      const tangent = outgoing[index];
      if (!tangent) continue;
      checkRule(equation.primitive, "jvp", tangent, output);
      flowing.set(output, tangent);
    }
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
  for (const { outputs: own, primitive, inputs, params } of equations) {
    const operands = inputs.map((input) => replaced.get(input) ?? input);
    for (const [index, output] of own.entries()) replaced.set(output, apply(primitive, operands, params[index]));
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
  for (const { outputs: own, primitive, inputs, params } of equations) {
    const batched = inputs.map((input) => replaced.has(input));
    const operands = inputs.map((input) => replaced.get(input) ?? input);
    const bind = (given: readonly Tensor[], chosen: unknown) => apply(primitive, given, chosen);
    const results = primitive.joint
      ? primitive.joint.batch(operands, { batched, params, size })
      : [primitive.batch(operands, { batched, params: params[0], size, bind })];
    for (const [index, output] of own.entries()) {
      const result = results[index] as Tensor;
      invariant(
        sameShape(result.shape, [size, ...output.shape]) && result.dtype === output.dtype,
        `the batching rule of ${primitive.name} gave ${formatShape(result.shape)} for ${size} times ${formatShape(output.shape)}`,
      );
      replaced.set(output, result);
    }
  }
  return outputs.map((output) => replaced.get(output) ?? null);
}
