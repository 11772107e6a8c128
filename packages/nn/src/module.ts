/**
 * Models as values. A layer is a record of pure functions: `init` makes its parameters, `apply` computes. Parameters are
 * a plain tree of tensors whose type follows from the model, so that `grad`, `treeMap`, optimizers and checkpoints
 * need to know nothing of layers.
 *
 * Layers with running statistics (batch norm) have a second tree, the state, which no optimizer sees. `initState` makes
 * it; `apply` reads it in evaluation; `applyWithState` also returns the next one. A model without such layers has the
 * state `{}`.
 */
import {
  ArgumentError,
  type DType,
  foldIn,
  formatShape,
  type Key,
  type MapLeaves,
  placeholder,
  type Shape,
  ShapeError,
  sameShape,
  splitKeys,
  type Tensor,
  treeMap,
} from "@thalweg/tensor";

/** What a model is built for. */
export interface InputSpec {
  /** With the batch axis, whose extent does not matter. */
  readonly shape: Shape;
  /** Default f32. Parameters of most layers have this dtype if it is a float, else f32. */
  readonly dtype?: DType;
}

/**
 * What a parameter is for, so that optimizers can treat kinds apart:
 * `weight` (kernels), `bias`, `norm` (scale and bias of normalizations), `embedding` (tables), `head` (the kernel of a
 * layer that was given this role).
 */
export type Role = "weight" | "bias" | "norm" | "embedding" | "head";

/** The tree of a layer without parameters, or without state. */
export type Nothing = Readonly<Record<never, never>>;

export interface ApplyOptions<S = object> {
  /** Training: dropout drops, batch norm takes the statistics of the batch. Default false. */
  readonly train?: boolean;
  /** For layers that draw random numbers in training. A new one for every step. */
  readonly key?: Key;
  /** Running statistics, for models that have them. */
  readonly state?: S;
}

/** What reaches every layer of a model. */
export interface Context {
  readonly train: boolean;
  readonly key: Key | undefined;
  /** Where in the model: `["block1", "conv"]`. */
  readonly path: readonly string[];
}

/**
 * A part of a model, or a whole one.
 *
 * @typeParam P - The tree of parameters.
 * @typeParam S - The tree of running statistics; empty for most layers.
 */
export interface Layer<P extends object = object, S extends object = object, In = Tensor, Out = Tensor> {
  /** The name of the function that made it, for messages. */
  readonly kind: string;
  /** Initial parameters for inputs of a shape. Lazy: nothing is computed yet. */
  init(key: Key, input: InputSpec): P;
  /** Initial running statistics for inputs of a shape. */
  initState(input: InputSpec): S;
  /** The shape of the result for inputs of a shape. */
  outputShape(input: InputSpec): Shape;
  /** The result. Running statistics are read from `state` in evaluation and are not updated. */
  apply(params: P, x: In, options?: ApplyOptions<S>): Out;
  /** The result and the next running statistics. */
  applyWithState(params: P, state: S, x: In, options?: Omit<ApplyOptions, "state">): readonly [output: Out, state: S];
  /** The role of every parameter, in a tree like the parameters. */
  roles(params: P): MapLeaves<P, Tensor, Role>;
  /** What models call on their layers while they are set up: makes everything and runs once on shapes alone. */
  setup(key: Key, x: In, path: readonly string[]): Setup<P, S, Out>;
  /** What models call on their layers: {@link Layer.applyWithState} with the place in the model for messages. */
  forward(params: P, state: S | undefined, x: In, context: Context): readonly [output: Out, state: S];
}

export interface Setup<P, S, Out> {
  readonly params: P;
  readonly state: S;
  readonly output: Out;
}

/** The parameters of a layer type; none for a plain function. */
export type ParamsOf<L> = L extends { init(key: Key, input: InputSpec): infer P } ? P : Nothing;

/** The running statistics of a layer type; none for a plain function. */
export type StateOf<L> = L extends { initState(input: InputSpec): infer S } ? S : Nothing;

/** A layer, or a plain function of a tensor: a layer without parameters. */
export type LayerLike = Layer | ((x: Tensor) => Tensor);

/** What {@link defineLayer} needs to know about a layer. */
export interface LayerDefinition<P extends object, S extends object, In, Out> {
  readonly kind: string;
  /** Initial parameters for inputs like `x`, which has a shape and a dtype but no elements. */
  init(key: Key, x: In, path: readonly string[]): P;
  /** Initial running statistics; leave it out if there are none. */
  initState?(x: In): S;
  roles(params: P): MapLeaves<P, Tensor, Role>;
  /** `state` is missing where a stateful model is applied without it. Return it unchanged unless it changes. */
  forward(params: P, state: S | undefined, x: In, context: Context): readonly [output: Out, state: S];
}

/**
 * Makes a layer from its initialisation and its forward computation.
 *
 * Most models need no own layers: {@link sequential} and {@link compose} build them from existing ones.
 */
export function defineLayer<P extends object, S extends object = Nothing, In = Tensor, Out = Tensor>(
  definition: LayerDefinition<P, S, In, Out>,
): Layer<P, S, In, Out> {
  return layerFrom(definition.kind, {
    setup(key, x, path) {
      const params = definition.init(key, x, path);
      // Without initState there is no state, and S is Nothing.
      const state = definition.initState?.(x) ?? ({} as S);
      const [output] = definition.forward(params, state, x, { train: false, key: undefined, path });
      return { params, state, output };
    },
    roles: (params) => definition.roles(params),
    forward: (params, state, x, context) => definition.forward(params, state, x, context),
  });
}

/** A layer without running statistics; see {@link defineLayer}. */
export function defineStateless<P extends object, In = Tensor, Out = Tensor>(
  definition: Omit<LayerDefinition<P, Nothing, In, Out>, "initState" | "forward"> & {
    forward(params: P, x: In, context: Context): Out;
  },
): Layer<P, Nothing, In, Out> {
  return defineLayer<P, Nothing, In, Out>({
    ...definition,
    forward: (params, _state, x, context) => [definition.forward(params, x, context), {}],
  });
}

function layerFrom<P extends object, S extends object, In, Out>(
  kind: string,
  core: Pick<Layer<P, S, In, Out>, "setup" | "roles" | "forward">,
): Layer<P, S, In, Out> {
  const contextOf = ({ train = false, key }: ApplyOptions = {}): Context => ({ train, key, path: [] });
  // Layers of one tensor are set up on a placeholder; those of other inputs accept one tensor as well.
  const example = ({ shape, dtype = "f32" }: InputSpec) => placeholder(shape, dtype) as unknown as In;
  const anyKey = () => placeholder([2], "u32");
  return {
    kind,
    ...core,
    init: (key, input) => core.setup(key, example(input), []).params,
    initState: (input) => core.setup(anyKey(), example(input), []).state,
    outputShape: (input) => (core.setup(anyKey(), example(input), []).output as unknown as Tensor).shape,
    apply: (params, x, options) => core.forward(params, options?.state, x, contextOf(options))[0],
    applyWithState: (params, state, x, options) => core.forward(params, state, x, contextOf(options)),
  };
}

type Layers = Readonly<Record<string, LayerLike | Layer<object, object, never, unknown>>>;

/** Layers without parameters have no entry. */
export type ParamsOfLayers<L> = {
  readonly [K in keyof L as keyof ParamsOf<L[K]> extends never ? never : K]: ParamsOf<L[K]>;
};

/** Layers without running statistics have no entry. */
export type StateOfLayers<L> = {
  readonly [K in keyof L as keyof StateOf<L[K]> extends never ? never : K]: StateOf<L[K]>;
};

/** The layers of a model as functions of their input alone. */
export type Calls<L> = {
  readonly [K in keyof L]: L[K] extends Layer<infer _P, infer _S, infer In, infer Out> ? (x: In) => Out : L[K];
};

/**
 * Layers one after another.
 *
 * @param layers - By name, in order. Plain functions of a tensor are layers too: `nn.relu`, `(x) => x.mul(2)`.
 * @example sequential({ hidden: dense({ features: 100 }), act: relu, out: dense({ features: 10 }) })
 */
export function sequential<const L extends Readonly<Record<string, LayerLike>>>(
  layers: L,
): Layer<ParamsOfLayers<L>, StateOfLayers<L>> {
  const names = Object.keys(layers);
  return compose("sequential", layers, (calls, x: Tensor) =>
    names.reduce((value, name) => (calls[name] as (x: Tensor) => Tensor)(value), x),
  );
}

/**
 * A model whose layers are wired by a function. Calling a layer twice shares its parameters.
 *
 * @param kind - A name for messages.
 * @param layers - By name. Their parameters are entries of the model's parameters.
 * @param forward - Gets the layers as functions of their input. It runs once, in evaluation mode and on shapes alone, when
 * the parameters are made, and must call every layer then.
 * @example
 * const block = compose("block", { first: dense({ features: 64 }), second: dense({ features: 64 }) }, ({ first, second }, x: Tensor) =>
 *   second(relu(first(x))).add(x));
 */
export function compose<const L extends Layers, In = Tensor, Out = Tensor>(
  kind: string,
  layers: L,
  forward: (layers: Calls<L>, x: In, context: Context) => Out,
): Layer<ParamsOfLayers<L>, StateOfLayers<L>, In, Out> {
  const entries = Object.entries(layers).flatMap(([name, layer]) =>
    typeof layer === "function" ? [] : [{ name, layer: layer as Layer<object, object, unknown, unknown> }],
  );
  const functions = Object.fromEntries(Object.entries(layers).filter(([, layer]) => typeof layer === "function"));
  type Trees = Record<string, object>;
  const callsOf = (
    call: (name: string, layer: Layer<object, object, unknown, unknown>, index: number, x: unknown) => unknown,
  ) =>
    ({
      ...functions,
      ...Object.fromEntries(
        entries.map(({ name, layer }, index) => [name, (x: unknown) => call(name, layer, index, x)]),
      ),
    }) as Calls<L>;
  // Trees have the order in which the layers were given, whatever the order of calls.
  const collect = (trees: ReadonlyMap<string, object>): Trees =>
    Object.fromEntries(
      entries.flatMap(({ name }) => {
        const tree = trees.get(name);
        return tree !== undefined && Object.keys(tree).length > 0 ? [[name, tree]] : [];
      }),
    );

  return layerFrom<ParamsOfLayers<L>, StateOfLayers<L>, In, Out>(kind, {
    setup(key, x, path) {
      const keys = splitKeys(key, Math.max(1, entries.length));
      const context: Context = { train: false, key: undefined, path };
      const params = new Map<string, object>();
      const states = new Map<string, object>();
      const calls = callsOf((name, layer, index, input) => {
        const own = [...path, name];
        const known = params.get(name);
        if (known !== undefined) return layer.forward(known, states.get(name), input, { ...context, path: own })[0];
        const made = layer.setup(keys[index] as Key, input, own);
        params.set(name, made.params);
        states.set(name, made.state);
        return made.output;
      });
      const output = forward(calls, x, context);
      const idle = entries.find(({ name }) => !params.has(name));
      if (idle !== undefined) {
        throw new ArgumentError(
          `${describe(kind, path)}: layer "${idle.name}" was not called, so its parameters have no shape. ` +
            "Call every layer in evaluation mode, or leave it out.",
        );
      }
      return {
        params: collect(params) as ParamsOfLayers<L>,
        state: collect(states) as StateOfLayers<L>,
        output,
      };
    },
    roles(params) {
      const given = params as Trees;
      const roles = entries.flatMap(({ name, layer }) =>
        given[name] === undefined ? [] : [[name, layer.roles(given[name])]],
      );
      return Object.fromEntries(roles) as MapLeaves<ParamsOfLayers<L>, Tensor, Role>;
    },
    forward(params, state, x, context) {
      const given = params as Trees;
      const keys = context.key === undefined ? [] : splitKeys(context.key, Math.max(1, entries.length));
      const next = new Map(Object.entries((state ?? {}) as Trees));
      const times = new Map<string, number>();
      const calls = callsOf((name, layer, index, input) => {
        const count = times.get(name) ?? 0;
        times.set(name, count + 1);
        const own = keys[index];
        const key = own === undefined || count === 0 ? own : foldIn(own, count);
        const path = [...context.path, name];
        const tree = given[name] ?? {};
        // Without the model's state a layer gets none; with it, a layer that is missing there has none.
        const before = state === undefined && !next.has(name) ? undefined : (next.get(name) ?? {});
        const [output, after] = layer.forward(tree, before, input, { ...context, key, path });
        next.set(name, after);
        return output;
      });
      const output = forward(calls, x, context);
      return [output, collect(next) as StateOfLayers<L>];
    },
  });
}

/** `x + layer(x)`. @throws ShapeError if the layer changes the shape; {@link compose} can wire a projection. */
export function residual<P extends object, S extends object>(layer: Layer<P, S>): Layer<P, S> {
  const add = (x: Tensor, output: Tensor, path: readonly string[]): Tensor => {
    if (sameShape(x.shape, output.shape)) return x.add(output);
    throw new ShapeError(
      `${describe("residual", path)}: the layer turns ${formatShape(x.shape)} into ${formatShape(output.shape)}. ` +
        "Keep the shape, or wire a projection with compose.",
    );
  };
  return layerFrom<P, S, Tensor, Tensor>("residual", {
    setup(key, x, path) {
      const { params, state, output } = layer.setup(key, x, path);
      return { params, state, output: add(x, output, path) };
    },
    roles: (params) => layer.roles(params),
    forward(params, state, x, context) {
      const [output, next] = layer.forward(params, state, x, context);
      return [add(x, output, context.path), next];
    },
  });
}

/** `dense(block1.hidden)`, or `dense` for a layer by itself. */
export const describe = (kind: string, path: readonly string[]): string =>
  path.length === 0 ? kind : `${kind}(${path.join(".")})`;

/** Roles for the parameters of a layer by their names. */
export const namedRoles =
  (roles: Readonly<Record<string, Role>>) =>
  <P extends object>(params: P): MapLeaves<P, Tensor, Role> =>
    Object.fromEntries(Object.keys(params).map((name) => [name, roles[name]])) as MapLeaves<P, Tensor, Role>;

/**
 * A tree of booleans like the parameters: true where the role is one of those given. For the masks of weight decay.
 *
 * @example addDecayedWeights(1e-4, { mask: (params) => nn.roleMask(model, params, ["weight", "head"]) })
 */
export function roleMask<P extends object>(
  model: { roles(params: P): MapLeaves<P, Tensor, Role> },
  params: P,
  roles: readonly Role[],
): MapLeaves<P, Tensor, boolean> {
  return treeMap((role: Role) => roles.includes(role), model.roles(params)) as unknown as MapLeaves<P, Tensor, boolean>;
}
