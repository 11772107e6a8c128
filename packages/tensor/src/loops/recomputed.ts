/**
 * A function whose interior is not kept for derivatives: the graph behind `checkpoint` of packages/autograd.
 *
 * For the compiler the results are what the body says. Reverse mode builds the body once more, on inputs that may only
 * be used after the cotangent is computed (primitives/after.ts): so nothing of the first time is reused, and nothing of
 * the second time is computed before it is needed.
 */
import { equationsBetween, pullback, pushForward, replayBatched } from "../graph/walk";
import { type JointContext, type JointRules, loweringOf, type Primitive } from "../primitives/definition";
import type { NdArray } from "../reference/array";
import { evaluateReference } from "../reference/interpreter";
import { after, apply, placeholder, type Tensor } from "../tensor";
import { type ClosedGraph, closeGraph, Loop, substitute } from "./loop";

/** A graph over placeholders. */
class Body {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  #signature: string | undefined;

  constructor(inputs: readonly Tensor[], outputs: readonly Tensor[]) {
    this.inputs = inputs;
    this.outputs = outputs;
  }

  on(values: readonly Tensor[]): Tensor[] {
    return substitute(this.outputs, new Map(this.inputs.map((input, index) => [input, values[index] as Tensor])));
  }

  /** What stands for the body in keys of structure: the same for bodies that compute the same. */
  toJSON(): string {
    this.#signature ??= this.#describe();
    return this.#signature;
  }

  #describe(): string {
    const parts = { carries: [], elements: this.inputs, constants: [], next: [], others: this.outputs };
    const once = new Loop({ length: 1, reverse: false, ...parts });
    return `${once.toJSON()} ${JSON.stringify(this.outputs.map((output) => once.stackOf(output)))}`;
  }
}

interface RecomputedParams {
  readonly body: Body;
  readonly index: number;
}

type Context = JointContext<RecomputedParams>;

const bind = (body: Body, inputs: readonly Tensor[]): Tensor[] =>
  body.outputs.map((_, index) => apply(recomputed as Primitive, inputs, { body, index }));

/**
 * Results of a traced function whose interior is computed again for derivatives.
 *
 * @param placeholders the arguments that the function was traced on, and `inputs` their values.
 * @param outputs what the function made of them.
 */
export function recompute(
  placeholders: readonly Tensor[],
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
): Tensor[] {
  const closed: ClosedGraph = closeGraph(placeholders, outputs);
  return bind(new Body([...placeholders, ...closed.constants], closed.outputs), [...inputs, ...closed.values]);
}

const bodyOf = ({ params }: Context): Body => (params[0] as RecomputedParams).body;

/** Outputs of the body that belong to the results, in their order. */
const select = <T>({ params }: { readonly params: readonly RecomputedParams[] }, all: readonly T[]): T[] =>
  params.map(({ index }) => all[index] as T);

const joint: JointRules<RecomputedParams> = {
  computation: ({ body }) => body,
  vjp(cotangents, context) {
    const cause = cotangents.find((cotangent) => cotangent !== null);
    if (!cause) return context.inputs.map(() => null);
    const again = context.inputs.map((input) => (loweringOf(input, "generator") ? input : after(input, cause)));
    return pullback(again, select(context, bodyOf(context).on(again)))(cotangents);
  },
  jvp: (tangents, context) =>
    pushForward(context.inputs, select(context, bodyOf(context).on(context.inputs)), tangents),
  batch(inputs, { batched, params, size }) {
    const { body } = params[0] as RecomputedParams;
    const roots = body.inputs.filter((_, index) => batched[index]);
    const wide = body.inputs.map((input, index) =>
      batched[index] ? placeholder([size, ...input.shape], input.dtype) : input,
    );
    const values = wide.filter((_, index) => batched[index]);
    const made = replayBatched(equationsBetween(roots, body.outputs), roots, body.outputs, values, size);
    const outputs = body.outputs.map((output, index) => made[index] ?? output.expand([size, ...output.shape]));
    return select({ params }, bind(new Body(wide, outputs), inputs));
  },
};

const recomputed: Primitive<RecomputedParams> = {
  name: "checkpoint",
  shape(_inputs, { body, index }) {
    const { shape, dtype } = body.outputs[index] as Tensor;
    return { shape, dtype };
  },
  lowering: { kind: "composite", expand: (inputs, { body, index }) => body.on(inputs)[index] as Tensor },
  reference(inputs, { body, index }) {
    const bindings = new Map(body.inputs.map((input, position) => [input, inputs[position] as NdArray]));
    return evaluateReference([body.outputs[index] as Tensor], bindings)[0] as NdArray;
  },
  vjp: (cotangent, { inputs, output, params }) =>
    joint.vjp([cotangent], { inputs, outputs: [output], params: [params] }),
  jvp: (tangents, { inputs, output, params }) =>
    joint.jvp(tangents, { inputs, outputs: [output], params: [params] })[0] ?? null,
  batch: (inputs, { batched, params, size }) => joint.batch(inputs, { batched, params: [params], size })[0] as Tensor,
  sample(draw) {
    const shape = draw.shape();
    const input = placeholder(shape, "f32");
    return { inputs: [{ shape, dtype: "f32" }], params: { body: new Body([input], [input.mul(input)]), index: 0 } };
  },
  joint,
};
