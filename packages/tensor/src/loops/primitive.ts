import { isFloat } from "../dtype";
import { equationsBetween, pullback, pushForward, replayBatched } from "../graph/walk";
import type { JointContext, JointRules, Primitive } from "../primitives/definition";
import type { NdArray } from "../reference/array";
import { evaluateReference } from "../reference/interpreter";
import { sizeOf } from "../shape";
import { apply, placeholder, type Tensor } from "../tensor";
import { type BoundLoop, closeLoop, Loop, type LoopParts, type LoopResult } from "./loop";

export interface LoopParams {
  readonly loop: Loop;
  readonly result: LoopResult;
}

/** Nodes for results of a loop, made together so that derivatives see them together. */
export const bindLoop = ({ loop, inputs }: BoundLoop, results: readonly LoopResult[]): Tensor[] =>
  results.map((result) => apply(scanned as Primitive, inputs, { loop, result }));

const placeholdersLike = (tensors: readonly Tensor[]): Tensor[] =>
  tensors.map(({ shape, dtype }) => placeholder(shape, dtype));

type LoopContext = JointContext<LoopParams>;

const loopOf = ({ params }: { readonly params: readonly LoopParams[] }): Loop => (params[0] as LoopParams).loop;

/** Inputs by what they are in the body. */
function separate<T>({ body }: Loop, inputs: readonly T[]): { starts: T[]; stacked: T[]; constants: T[] } {
  const first = body.carries.length;
  const second = first + body.elements.length;
  return { starts: inputs.slice(0, first), stacked: inputs.slice(first, second), constants: inputs.slice(second) };
}

/**
 * What derivatives read of the iterations of a loop: results that stack it, and the placeholders that stand for it.
 *
 * Carries and what is expensive to compute (products, sums, whatever is no elementwise chain) are stored. Elementwise
 * chains and views between them are computed again where they are read, which costs arithmetic and saves memory.
 */
function residuals(
  loop: Loop,
  inputs: readonly Tensor[],
  readers: readonly Tensor[],
): { readonly elements: LoopParts["elements"]; readonly replaced: ReadonlyMap<Tensor, Tensor> } {
  const { carries, elements, constants } = loop.body;
  const own = new Set(loop.values);
  const given = new Map(elements.map((element, index) => [element, separate(loop, inputs).stacked[index] as Tensor]));
  const found: { placeholder: Tensor; stacked: Tensor }[] = [];
  const replaced = new Map<Tensor, Tensor>();
  const stackOf = (value: Tensor) => (bindLoop({ loop, inputs }, [loop.stackOf(value)]) as [Tensor])[0];
  const seen = new Set<Tensor>(constants);
  const pending = [...readers];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    const stacked = given.get(node);
    if (stacked !== undefined) found.push({ placeholder: node, stacked });
    else if (carries.includes(node)) found.push({ placeholder: node, stacked: stackOf(node) });
    else if (own.has(node) && !isRepeated(node)) {
      const inside = placeholder(node.shape, node.dtype);
      replaced.set(node, inside);
      found.push({ placeholder: inside, stacked: stackOf(node) });
    } else pending.push(...node.inputs);
  }
  return { elements: found, replaced };
}

/** Is it cheaper to compute again than to store? */
const isRepeated = (node: Tensor): boolean =>
  ["elementwise", "movement", "generator", "alias"].includes(node.primitive.lowering.kind);

const zero = (like: Tensor): Tensor => like.zerosLike();

/**
 * Reverse mode: a loop in the other direction. Its carries are the cotangents of the carries, and one sum for every
 * constant; the stacked inputs' cotangents are its stacked results.
 */
function vjp(cotangents: readonly (Tensor | null)[], context: LoopContext): readonly (Tensor | null)[] {
  const loop = loopOf(context);
  const { length, reverse, carries, elements, constants, next } = loop.body;
  const starts = carries.map((): Tensor | null => null);
  const given: { readonly value: Tensor; readonly stacked: Tensor; readonly placeholder: Tensor }[] = [];
  for (const [index, { result }] of context.params.entries()) {
    const cotangent = cotangents[index];
    if (!cotangent) continue;
    const value = loop.valueOf(result);
    if (result.kind === "carry") {
      const other = starts[result.index];
      starts[result.index] = other ? other.add(cotangent) : cotangent;
    } else given.push({ value, stacked: cotangent, placeholder: placeholder(value.shape, value.dtype) });
  }
  const roots = [...carries, ...elements, ...constants];
  const active = carries.map((carry, index) => starts[index] !== null && isFloat(carry.dtype));
  const flowing = placeholdersLike(carries);
  const pullAll = () => {
    const used = carries.flatMap((_, index) => (active[index] ? [index] : []));
    const pull = pullback(roots, [...used.map((index) => next[index] as Tensor), ...given.map(({ value }) => value)]);
    return pull([...used.map((index) => flowing[index] as Tensor), ...given.map((own) => own.placeholder)]);
  };
  // Cotangents of one carry may reach others: until no new one is reached.
  let pulled = pullAll();
  const reached = () => carries.flatMap((_, index) => (pulled[index] && !active[index] ? [index] : []));
  for (let more = reached(); more.length > 0; more = reached()) {
    for (const index of more) active[index] = true;
    pulled = pullAll();
  }
  const bars = separate(loop, pulled);
  const sums = bars.constants.map((bar, index) => {
    const constant = constants[index] as Tensor;
    return bar && { placeholder: placeholder(constant.shape, constant.dtype), bar };
  });
  const found = [...bars.starts, ...bars.stacked, ...bars.constants].filter((bar) => bar !== null);
  const { elements: read, replaced } = residuals(loop, context.inputs, found);
  const back = closeLoop({
    length,
    reverse: !reverse,
    carries: [
      ...carries.flatMap((carry, index) =>
        active[index]
          ? [
              {
                placeholder: flowing[index] as Tensor,
                start: starts[index] ?? zero(carry),
                next: bars.starts[index] ?? zero(carry),
              },
            ]
          : [],
      ),
      ...sums.flatMap((sum) =>
        sum ? [{ placeholder: sum.placeholder, start: zero(sum.placeholder), next: sum.placeholder.add(sum.bar) }] : [],
      ),
    ],
    elements: [...given.map(({ placeholder: own, stacked }) => ({ placeholder: own, stacked })), ...read],
    constants: constantsOf(loop, context.inputs),
    replaced,
    others: bars.stacked.filter((bar) => bar !== null),
  });
  const activeNumbers = carries.map((_, index) => active.slice(0, index).filter(Boolean).length);
  const activeCount = active.filter(Boolean).length;
  let nextOther = 0;
  let nextSum = activeCount;
  const results = [
    ...carries.map((_, index): LoopResult | null =>
      active[index] ? { kind: "carry", index: activeNumbers[index] as number } : null,
    ),
    ...bars.stacked.map((bar) => bar && back.loop.stackOf(back.others[nextOther++] as Tensor)),
    ...sums.map((sum): LoopResult | null => sum && { kind: "carry", index: nextSum++ }),
  ];
  return bindSome(back, results);
}

const constantsOf = (loop: Loop, inputs: readonly Tensor[]): Map<Tensor, Tensor> =>
  new Map(loop.body.constants.map((own, index) => [own, separate(loop, inputs).constants[index] as Tensor]));

/** One node per result that there is. */
function bindSome(loop: BoundLoop, results: readonly (LoopResult | null)[]): (Tensor | null)[] {
  const made = bindLoop(
    loop,
    results.filter((result) => result !== null),
  );
  let taken = 0;
  return results.map((result) => result && (made[taken++] as Tensor));
}

/** Forward mode: a loop over the tangents, beside the loop itself. */
function jvp(tangents: readonly (Tensor | null)[], context: LoopContext): readonly (Tensor | null)[] {
  const loop = loopOf(context);
  const { length, reverse, carries, elements, constants, next } = loop.body;
  const roots = [...carries, ...elements, ...constants];
  const given = separate(loop, tangents);
  const directions = placeholdersLike(roots);
  const active = given.starts.map((tangent) => tangent !== null);
  const values = context.params.map(({ result }) => loop.valueOf(result));
  const pushAll = () => {
    const used = roots.map((_, index) =>
      (index < carries.length ? active[index] : tangents[index] !== null) ? (directions[index] as Tensor) : null,
    );
    return pushForward(roots, [...next, ...values], used);
  };
  let pushed = pushAll();
  const reached = () => carries.flatMap((_, index) => (pushed[index] && !active[index] ? [index] : []));
  for (let more = reached(); more.length > 0; more = reached()) {
    for (const index of more) active[index] = true;
    pushed = pushAll();
  }
  const own = separate(loop, directions);
  const stackedOthers = context.params.map(({ result }, index) =>
    result.kind === "stack" ? (pushed[carries.length + index] as Tensor | null) : null,
  );
  const found = [...pushed.slice(0, carries.length), ...stackedOthers].filter((node) => node !== null);
  const { elements: read, replaced } = residuals(loop, context.inputs, found);
  const along = closeLoop({
    length,
    reverse,
    carries: carries.flatMap((carry, index) =>
      active[index]
        ? [
            {
              placeholder: own.starts[index] as Tensor,
              start: given.starts[index] ?? zero(carry),
              next: pushed[index] ?? zero(carry),
            },
          ]
        : [],
    ),
    elements: [
      ...elements.flatMap((_, index) => {
        const stacked = given.stacked[index];
        return stacked ? [{ placeholder: own.stacked[index] as Tensor, stacked }] : [];
      }),
      ...read,
    ],
    constants: new Map([
      ...constantsOf(loop, context.inputs),
      ...constants.flatMap((_, index) => {
        const tangent = given.constants[index];
        return tangent ? [[own.constants[index] as Tensor, tangent] as const] : [];
      }),
    ]),
    replaced,
    others: stackedOthers.filter((node) => node !== null),
  });
  let nextOther = 0;
  return bindSome(
    along,
    context.params.map(({ result }, index): LoopResult | null => {
      if (result.kind === "stack") {
        return stackedOthers[index] ? along.loop.stackOf(along.others[nextOther++] as Tensor) : null;
      }
      if (!active[result.index]) return null;
      return { kind: "carry", index: active.slice(0, result.index).filter(Boolean).length };
    }),
  );
}

/** All examples in one loop, whose body is batched. */
const batch: JointRules<LoopParams>["batch"] = (inputs, { batched, params, size }) => {
  const { loop } = params[0] as LoopParams;
  const { length, reverse, carries, elements, constants, next } = loop.body;
  const roots = [...carries, ...elements, ...constants];
  const values = params.map(({ result }) => loop.valueOf(result));
  const isBatched = [...batched];
  const wide = roots.map(({ shape, dtype }) => placeholder([size, ...shape], dtype));
  const run = () => {
    const used = roots.flatMap((root, index) => (isBatched[index] ? [[root, wide[index] as Tensor] as const] : []));
    const from = used.map(([root]) => root);
    const outputs = [...next, ...values];
    const to = used.map(([, value]) => value);
    return replayBatched(equationsBetween(from, outputs), from, outputs, to, size);
  };
  // A carry that becomes batched in the body is batched from the start.
  let made = run();
  const reached = () => carries.flatMap((_, index) => (made[index] && !isBatched[index] ? [index] : []));
  for (let more = reached(); more.length > 0; more = reached()) {
    for (const index of more) isBatched[index] = true;
    made = run();
  }
  const given = separate(loop, inputs);
  const own = separate(
    loop,
    roots.map((root, index) => (isBatched[index] ? (wide[index] as Tensor) : root)),
  );
  const widen = (value: Tensor, like: Tensor) => value.expand([size, ...like.shape]);
  const others = values.map((value, index) => made[carries.length + index] ?? value);
  const together = closeLoop({
    length,
    reverse,
    carries: carries.map((carry, index) => {
      const start = given.starts[index] as Tensor;
      const after = made[index] ?? (next[index] as Tensor);
      return isBatched[index]
        ? {
            placeholder: own.starts[index] as Tensor,
            start: batched[index] ? start : widen(start, carry),
            next: made[index] ? after : widen(after, carry),
          }
        : { placeholder: carry, start, next: after };
    }),
    elements: elements.map((_, index) => ({
      placeholder: own.stacked[index] as Tensor,
      stacked: batched[carries.length + index]
        ? (given.stacked[index] as Tensor).moveAxis(0, 1)
        : (given.stacked[index] as Tensor),
    })),
    constants: new Map(own.constants.map((inside, index) => [inside, given.constants[index] as Tensor])),
    others,
  });
  const results = bindLoop(
    together,
    params.map(({ result }, index) =>
      result.kind === "carry" ? result : together.loop.stackOf(together.others[index] as Tensor),
    ),
  );
  return results.map((result, index) => {
    const { result: which } = params[index] as LoopParams;
    if (which.kind === "carry") return isBatched[which.index] ? result : result.expand([size, ...result.shape]);
    return made[carries.length + index] ? result.moveAxis(1, 0) : result.expand([size, ...result.shape]);
  });
};

function reference(inputs: readonly NdArray[], { loop, result }: LoopParams, output: NdArray["shape"]): Float64Array {
  const { length, reverse, carries, elements, constants, next } = loop.body;
  const given = separate(loop, inputs);
  const value = loop.valueOf(result);
  const stacked = new Float64Array(sizeOf(output));
  let state = given.starts;
  for (let step = 0; step < length; step++) {
    const position = reverse ? length - 1 - step : step;
    const elementOf = ({ shape, dtype, values }: NdArray): NdArray => {
      const size = sizeOf(shape.slice(1));
      return { shape: shape.slice(1), dtype, values: values.subarray(position * size, (position + 1) * size) };
    };
    const bindings = new Map<Tensor, NdArray>([
      ...carries.map((carry, index) => [carry, state[index] as NdArray] as const),
      ...elements.map((element, index) => [element, elementOf(given.stacked[index] as NdArray)] as const),
      ...constants.map((constant, index) => [constant, given.constants[index] as NdArray] as const),
    ]);
    const after = evaluateReference([...next, value], bindings);
    state = after.slice(0, next.length);
    if (result.kind === "stack") {
      const { values } = after.at(-1) as NdArray;
      stacked.set(values, position * values.length);
    }
  }
  return result.kind === "stack" ? stacked : (state[result.index] as NdArray).values;
}

const joint: JointRules<LoopParams> = { computation: ({ loop }) => loop, vjp, jvp, batch };

/** A result of a loop. Inputs: the carries at the start, what is stacked, the constants. */
export const scanned: Primitive<LoopParams> = {
  name: "scan",
  shape(_inputs, { loop, result }) {
    const { shape, dtype } = loop.valueOf(result);
    return { shape: result.kind === "stack" ? [loop.body.length, ...shape] : shape, dtype };
  },
  lowering: { kind: "loop" },
  reference: (inputs, params, { shape, dtype }) => ({ shape, dtype, values: reference(inputs, params, shape) }),
  vjp: (cotangent, { inputs, output, params }) => vjp([cotangent], { inputs, outputs: [output], params: [params] }),
  jvp: (tangents, { inputs, output, params }) =>
    jvp(tangents, { inputs, outputs: [output], params: [params] })[0] ?? null,
  batch: (inputs, { batched, params, size }) => batch(inputs, { batched, params: [params], size })[0] as Tensor,
  /** Powers: the carry times the element, stacked. */
  sample(draw) {
    const shape = draw.shape();
    const [carry, element] = [placeholder(shape, "f32"), placeholder(shape, "f32")];
    const length = draw.integer(1, 4);
    const after = carry.mul(element);
    const parts = { carries: [carry], elements: [element], constants: [], next: [after], others: [after] };
    const loop = new Loop({ length, reverse: draw.integer(0, 1) === 1, ...parts });
    return {
      inputs: [
        { shape, dtype: "f32" },
        { shape: [length, ...shape], dtype: "f32" },
      ],
      params: { loop, result: loop.stackOf(after) },
    };
  },
  joint,
};
