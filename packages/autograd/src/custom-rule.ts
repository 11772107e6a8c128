import {
  ArgumentError,
  apply,
  concat,
  DTypeError,
  definePrimitive,
  equationsBetween,
  formatShape,
  isFloat,
  placeholder,
  pullback,
  ShapeError,
  sameShape,
  Tensor,
  type TreePath,
  treeFlatten,
  treeUnflatten,
} from "@thalweg/tensor";
import { flattenTensors, nameArgument, nameResult } from "./arguments";
import { vmap } from "./vmap";

/** What a rule may use: the arguments of the call and its result. */
export interface CustomRuleContext<A extends readonly unknown[], R> {
  readonly primals: A;
  readonly output: R;
}

/** A tree like `T` with null in place of any part that gets no cotangent. */
export type CotangentOf<T> =
  | null
  | (T extends Tensor ? Tensor : T extends object ? { readonly [K in keyof T]: CotangentOf<T[K]> } : unknown);

/** One cotangent tree per argument. */
export type CotangentsOf<A extends readonly unknown[]> = { readonly [K in keyof A]: CotangentOf<A[K]> };

/** Cotangents of the arguments from that of the result. Linear in the cotangent. */
export type VjpRule<A extends readonly unknown[], R> = (
  cotangent: R,
  context: CustomRuleContext<A, R>,
) => CotangentsOf<A>;

/** The tangent of the result from those of the arguments (zeros where there is none). Linear in the tangents. */
export type JvpRule<A extends readonly unknown[], R> = (tangents: A, context: CustomRuleContext<A, R>) => R;

/** At least one rule; the other one is its transpose unless it is given, too. */
export type CustomRules<A extends readonly unknown[], R> =
  | { readonly vjp: VjpRule<A, R>; readonly jvp?: JvpRule<A, R> }
  | { readonly vjp?: VjpRule<A, R>; readonly jvp: JvpRule<A, R> };

/**
 * `f` with a derivative of your own: a numerically better one, that of a function defined by its solution, or one that
 * is deliberately not the derivative (a straight-through estimator).
 *
 * The rules are ordinary functions of tensors, so derivatives of every order and batching follow. Give `vjp`, `jvp` or
 * both; a missing one is derived by transposing the other, which must be linear in its cotangent or tangents then.
 * The rules hold for the arguments. Tensors that `f` closes over are differentiated as usual.
 *
 * @throws ArgumentError if neither rule is given, if a rule returns a tree that does not fit, or if a missing rule is
 * asked for and the other one is not linear.
 * @example
 * const roundThrough = customRule((x: Tensor) => x.round(), { vjp: (cotangent) => [cotangent] });
 */
export function customRule<A extends readonly unknown[], R>(
  f: (...args: A) => R,
  rules: CustomRules<A, R>,
): (...args: A) => R {
  if (rules.vjp === undefined && rules.jvp === undefined) {
    throw new ArgumentError("customRule: neither vjp nor jvp is given. Give at least one.");
  }
  return (...args) => {
    const { leaves, paths, structure } = treeFlatten<unknown>(args);
    const places = leaves.flatMap((leaf, index) => (leaf instanceof Tensor ? [index] : []));
    const primals = places.map((place) => leaves[place] as Tensor);
    const argumentsOf = (tensors: readonly Tensor[]): A => {
      const filled = [...leaves];
      places.forEach((place, index) => {
        filled[place] = tensors[index];
      });
      return treeUnflatten(structure, filled) as A;
    };
    // The body sees constants: derivatives with respect to the arguments come from the rules alone.
    const result = f(...argumentsOf(primals.map((primal) => primal.stopGradient())));
    const output = flattenTensors("customRule", result, nameResult);
    const packing = packFloats(output.leaves);
    if (packing === null) return result;
    const resultOf = (packed: Tensor, integers: readonly Tensor[]): R =>
      treeUnflatten(output.structure, packing.unpack(packed, integers)) as R;
    const leafRules = toLeafRules(rules, {
      argumentsOf,
      argumentPaths: places.map((place) => paths[place] as TreePath),
      resultOf,
      resultPaths: output.paths,
      pack: packing.pack,
    });
    const integers = output.leaves.filter((leaf) => !isFloat(leaf.dtype));
    const params: CustomParams = { rules: leafRules, primals: primals.length };
    const value = apply(customized, [packing.pack(output.leaves), ...primals, ...integers], params);
    return resultOf(value, integers);
  };
}

/** The rules on flat lists: the tensors among the arguments, one float result, and the integer results. */
interface LeafRules {
  vjp(cotangent: Tensor, context: LeafContext): (Tensor | null)[];
  jvp(tangents: readonly (Tensor | null)[], context: LeafContext): Tensor | null;
}

interface LeafContext {
  readonly primals: readonly Tensor[];
  readonly output: Tensor;
  readonly integers: readonly Tensor[];
}

interface CustomParams {
  readonly rules: LeafRules;
  /** How many of the inputs behind the value are arguments; integer results follow. */
  readonly primals: number;
}

/**
 * The value, computed by the function's body, with the rules attached. Inputs: the value, the arguments, the integer
 * results. With respect to the value it is the identity, so that derivatives reach what the body closes over.
 */
const customized = definePrimitive<CustomParams>({
  name: "customRule",
  shape: ([value]) => value as Tensor,
  lowering: { kind: "alias" },
  reference: ([value]) => value as NonNullable<typeof value>,
  vjp(cotangent, { inputs, output, params }) {
    return [cotangent, ...params.rules.vjp(cotangent, leafContext(inputs, output, params))];
  },
  jvp([ofValue, ...tangents], { inputs, output, params }) {
    const ofArguments = tangents.slice(0, params.primals);
    if (ofArguments.every((tangent) => tangent === null)) return ofValue ?? null;
    const own = params.rules.jvp(ofArguments, leafContext(inputs, output, params));
    return ofValue && own ? ofValue.add(own) : (ofValue ?? own);
  },
  batch(inputs, { batched, params, size, bind }) {
    const operands = inputs.map((input, index) => (batched[index] ? input : input.expand([size, ...input.shape])));
    return bind(operands, { ...params, rules: batchRules(params.rules) });
  },
  sample(draw) {
    const shape = draw.shape();
    const rules: LeafRules = { vjp: () => [null], jvp: () => null };
    return {
      inputs: [
        { shape, dtype: "f32" },
        { shape, dtype: "f32" },
      ],
      params: { rules, primals: 1 },
    };
  },
}) as Parameters<typeof apply>[0];

function leafContext(inputs: readonly Tensor[], output: Tensor, { primals }: CustomParams): LeafContext {
  return { primals: inputs.slice(1, 1 + primals), output, integers: inputs.slice(1 + primals) };
}

/** The same rules for inputs that all have one more axis in front. */
function batchRules(rules: LeafRules): LeafRules {
  return {
    vjp: (cotangent, { primals, output, integers }) =>
      batchNullable(
        ([own, at, ...rest]) =>
          rules.vjp(own as Tensor, {
            output: at as Tensor,
            primals: rest.slice(0, primals.length),
            integers: rest.slice(primals.length),
          }),
        [cotangent, output, ...primals, ...integers],
      ),
    jvp: (tangents, { primals, output, integers }) => {
      const present = tangents.filter((tangent) => tangent !== null);
      const [result = null] = batchNullable(
        ([at, ...rest]) => {
          const given = rest.slice(primals.length + integers.length);
          const own = tangents.map((tangent) => tangent && (given.shift() as Tensor));
          return [
            rules.jvp(own, {
              output: at as Tensor,
              primals: rest.slice(0, primals.length),
              integers: rest.slice(primals.length, primals.length + integers.length),
            }),
          ];
        },
        [output, ...primals, ...integers, ...present],
      );
      return result;
    },
  };
}

/** {@link vmap} of a function with nulls in its result. */
function batchNullable(fn: (leaves: readonly Tensor[]) => (Tensor | null)[], values: Tensor[]): (Tensor | null)[] {
  let present: boolean[] = [];
  const batched = vmap((...leaves: Tensor[]): Tensor[] => {
    const results = fn(leaves);
    present = results.map((result) => result !== null);
    return results.filter((result) => result !== null);
  })(...values);
  let next = 0;
  return present.map((is) => (is ? (batched[next++] as Tensor) : null));
}

interface Packing {
  /** One float tensor for all float leaves; a single leaf stays as it is. */
  pack(leaves: readonly Tensor[]): Tensor;
  /** All leaves again, given the others. */
  unpack(packed: Tensor, integers: readonly Tensor[]): Tensor[];
}

/**
 * A node of the graph has one value, and a rule is for all results at once: they travel together in one flat tensor.
 * Null if there are no floats.
 */
function packFloats(like: readonly Tensor[]): Packing | null {
  const floats = like.filter((leaf) => isFloat(leaf.dtype));
  const [first] = floats;
  if (first === undefined) return null;
  const place = (own: readonly Tensor[], integers: readonly Tensor[]): Tensor[] => {
    const [nextOwn, nextInteger] = [[...own], [...integers]];
    return like.map((leaf) => (isFloat(leaf.dtype) ? nextOwn : nextInteger).shift() as Tensor);
  };
  const floatsOf = (leaves: readonly Tensor[]) => leaves.filter((_, index) => isFloat((like[index] as Tensor).dtype));
  if (floats.length === 1) {
    return {
      pack: (leaves) => floatsOf(leaves)[0] as Tensor,
      unpack: (packed, integers) => place([packed], integers),
    };
  }
  // f32 holds every f16 exactly.
  const dtype = floats.every((leaf) => leaf.dtype === first.dtype) ? first.dtype : "f32";
  return {
    pack: (leaves) => concat(floatsOf(leaves).map((leaf) => leaf.flatten().cast(dtype))),
    unpack(packed, integers) {
      let start = 0;
      const own = floats.map((leaf) => {
        const part = packed.slice([start], [start + leaf.size]);
        start += leaf.size;
        return part.reshape(leaf.shape).cast(leaf.dtype);
      });
      return place(own, integers);
    },
  };
}

interface Signature<A, R> {
  argumentsOf(tensors: readonly Tensor[]): A;
  readonly argumentPaths: readonly TreePath[];
  resultOf(packed: Tensor, integers: readonly Tensor[]): R;
  readonly resultPaths: readonly TreePath[];
  pack(leaves: readonly Tensor[]): Tensor;
}

function toLeafRules<A extends readonly unknown[], R>(
  { vjp, jvp }: CustomRules<A, R>,
  { argumentsOf, argumentPaths, resultOf, resultPaths, pack }: Signature<A, R>,
): LeafRules {
  const contextOf = ({ primals, output, integers }: LeafContext): CustomRuleContext<A, R> => ({
    primals: argumentsOf(primals),
    output: resultOf(output, integers),
  });
  const zerosOf = (tensors: readonly Tensor[]) => tensors.map((tensor) => tensor.zerosLike());
  const givenVjp = (rule: VjpRule<A, R>, cotangent: Tensor, context: LeafContext) => {
    const cotangents = rule(resultOf(cotangent, zerosOf(context.integers)), contextOf(context));
    return argumentPaths.map((path, index) =>
      partLike("cotangent", cotangents, path, context.primals[index] as Tensor, nameArgument(path)),
    );
  };
  const givenJvp = (rule: JvpRule<A, R>, tangents: readonly (Tensor | null)[], context: LeafContext) => {
    const filled = tangents.map((tangent, index) => tangent ?? (context.primals[index] as Tensor).zerosLike());
    const tangent = rule(argumentsOf(filled), contextOf(context));
    const like = treeFlatten<Tensor>(resultOf(context.output, context.integers)).leaves;
    return pack(
      resultPaths.map((path, index) => {
        const leaf = like[index] as Tensor;
        return partLike("tangent", tangent, path, leaf, nameResult(path)) ?? leaf.zerosLike();
      }),
    );
  };
  return {
    vjp(cotangent, context) {
      if (vjp) return givenVjp(vjp, cotangent, context);
      const floats = context.primals.filter((primal) => isFloat(primal.dtype));
      const transposed = transpose("vjp", "jvp", floats, [cotangent], (directions) => {
        const given = [...directions];
        const tangents = context.primals.map((primal) => (isFloat(primal.dtype) ? (given.shift() as Tensor) : null));
        return [givenJvp(jvp as JvpRule<A, R>, tangents, context)];
      });
      return context.primals.map((primal) => (isFloat(primal.dtype) ? (transposed.shift() ?? null) : null));
    },
    jvp(tangents, context) {
      if (jvp) return givenJvp(jvp, tangents, context);
      const [transposed = null] = transpose("jvp", "vjp", [context.output], tangents, ([cotangent]) =>
        givenVjp(vjp as VjpRule<A, R>, cotangent as Tensor, context),
      );
      return transposed;
    },
  };
}

/** The part of a rule's result that belongs to a leaf; null on the way to it means none. */
function partLike(what: string, tree: unknown, path: TreePath, like: Tensor, name: string): Tensor | null {
  let part: unknown = tree;
  for (const key of path) {
    if (part === null) return null;
    part = part instanceof Tensor ? undefined : (part as Readonly<Record<string | number, unknown>> | undefined)?.[key];
  }
  if (part === null || !isFloat(like.dtype)) return null;
  if (!(part instanceof Tensor)) {
    const expected = what === "tangent" ? "a tree like the result" : "a list with one tree per argument";
    throw new ArgumentError(
      `customRule: the rule gave no ${what} for ${name}. Return ${expected}, with null for a part without one.`,
    );
  }
  if (!sameShape(part.shape, like.shape)) {
    throw new ShapeError(
      `customRule: the ${what} for ${name} has shape ${formatShape(part.shape)}, expected ${formatShape(like.shape)}.`,
    );
  }
  if (part.dtype !== like.dtype) {
    throw new DTypeError(`customRule: the ${what} for ${name} is ${part.dtype}, expected ${like.dtype}.`);
  }
  return part;
}

/** Applies the transpose of a linear map, found by differentiating it anywhere: it must be the same everywhere. */
function transpose(
  wanted: string,
  given: string,
  like: readonly Tensor[],
  cotangents: readonly (Tensor | null)[],
  map: (at: readonly Tensor[]) => readonly (Tensor | null)[],
): (Tensor | null)[] {
  const at = like.map(({ shape, dtype }) => placeholder(shape, dtype));
  const images = map(at);
  const pairs = images.flatMap((image, index) => {
    const cotangent = cotangents[index];
    return image && cotangent ? [{ image, cotangent }] : [];
  });
  const results = pullback(
    at,
    pairs.map(({ image }) => image),
  )(pairs.map(({ cotangent }) => cotangent));
  const present = results.filter((result) => result !== null);
  if (present.some((result) => at.includes(result)) || equationsBetween(at, present).length > 0) {
    throw new ArgumentError(
      `customRule: no ${wanted} is given, and the ${given} is not linear in its ${given === "vjp" ? "cotangent" : "tangents"}, ` +
        `so that no ${wanted} follows from it. Give one.`,
    );
  }
  return results;
}
