import type { Block, Evaluation, KroneckerOptions } from "@thalweg/curvature";
import { ArgumentError, nearestName, type Tensor, tensor, where } from "@thalweg/tensor";
import { type Constant, checkRange, numbersOf, packNumbers } from "./constant";
import { mapTensors, type TensorTree } from "./tensors";

/** What rules read of an `Evaluation` of `kroneckerCurvature`. */
export type Curvature = Pick<Evaluation<TensorTree>, "blocks" | "factors" | "correct" | "forms">;

/** The curvature that a rule wants: options of `kroneckerCurvature`. */
export type CurvatureRequest = Omit<KroneckerOptions, "mask">;

/** What a rule may be told of the model before the first update; a `KroneckerCurvature` has it. */
export interface ModelStructure {
  /** How the parameters fall into blocks. */
  readonly blocks: readonly Block[];
}

/** What an update may use besides gradient and parameters. Functions are called only by rules that need them. */
export interface Extra {
  /** The loss at the parameters: scalar. */
  readonly loss?: Tensor;
  /** Loss and gradient at other parameters, for the same batch and the same random numbers. */
  readonly valueAndGrad?: (params: TensorTree) => readonly [loss: Tensor, gradients: TensorTree];
  /** An estimate of the diagonal of the Hessian or of the Gauss-Newton matrix at the parameters: a tree like them. */
  readonly curvatureDiagonal?: () => TensorTree;
  /**
   * The curvature of the batch: an `Evaluation` of `kroneckerCurvature`. Updates that measure nothing read its `blocks`
   * alone, so that the model is not run for it.
   */
  readonly kronecker?: Curvature;
  /** The gradients of the examples: a tree of tensors `[examples, …]`. */
  readonly perSample?: () => TensorTree;
  /**
   * `false` promises that this update does nothing rare and expensive, such as the roots of a preconditioner, so that the
   * program is compiled without it; `true` that it does nothing that only the beginning needs: what
   * {@link GradientTransformation.refreshesAt} says of the step. A loop compiles a program for each, and most steps run the
   * one without. With `"start"`, and if left out, every update does all the work, and the device decides by the step what of
   * it is kept.
   */
  readonly refresh?: Refresh;
}

/**
 * How much of the rare work an update does: none, some parts of it by name ({@link onlyParts}), that which comes back, or
 * all of it, with what only the beginning needs.
 */
export type Refresh = boolean | "start" | `only ${string}`;

/** An update that does some parts of its rare work, in the rule's own words; none without any. */
export const onlyParts = (parts: readonly string[]): Refresh =>
  parts.length === 0 ? false : `only ${[...new Set(parts)].sort().join(", ")}`;

const partsOf = (refresh: `only ${string}`): readonly string[] => refresh.slice("only ".length).split(", ");

/** Whether an update does this part of its rare work. */
export function doesPart(refresh: Refresh | undefined, part: string): boolean {
  if (refresh === false) return false;
  return refresh === undefined || refresh === true || refresh === "start" || partsOf(refresh).includes(part);
}

/** As much as any of several rules does. */
export function uniteRefresh(all: readonly Refresh[]): Refresh {
  if (all.includes("start")) return "start";
  if (all.includes(true)) return true;
  return onlyParts(all.flatMap((refresh) => (typeof refresh === "string" ? partsOf(refresh as `only ${string}`) : [])));
}

/** What a rule can ask of `extra`. */
export type Need = Exclude<keyof Extra, "refresh">;

/**
 * State of a transformation: a tree of tensors, so that it can be donated, saved and restored like parameters. (A type
 * and no interface, since only types of objects count as trees.)
 */
export type OptimizerState = {
  /** Updates done so far: u32 scalar. */
  readonly step: Tensor;
  /** All numeric hyperparameters in one f32 vector, since a kernel can read few buffers. `null` without any. */
  readonly hyperparameters: Tensor | null;
  /** What the rule remembers, in trees like the parameters. */
  readonly buffers: TensorTree;
};

/** What a rule sees in one update. */
export interface UpdateContext {
  readonly params: TensorTree;
  /** The index of this update, 0, 1, …: u32 scalar. */
  readonly step: Tensor;
  /**
   * The numbers of a hyperparameter, f32 scalars on the device, as {@link Constant.derive} ordered them.
   *
   * @param step At which a schedule is evaluated; default: that of the context.
   */
  readonly constant: (name: string, step?: Tensor) => readonly Tensor[];
  readonly extra: Extra;
}

/** What a rule sees when the model is evaluated. */
export type EvalContext = Omit<UpdateContext, "extra">;

/** The context of a rule whose updates are counted otherwise than the calls. @param step u32 scalar. */
export function contextAt<C extends EvalContext>(context: C, step: Tensor): C {
  return { ...context, step, constant: (name, at = step) => context.constant(name, at) };
}

/** A rule without step counter and hyperparameters of its own: what combinators combine. */
export interface Rule<B extends TensorTree = TensorTree> {
  /** For messages. */
  readonly name: string;
  readonly constants: readonly Constant[];
  /** What `extra` has to hold. */
  readonly needs: readonly Need[];
  /** The curvature that `extra.kronecker` is to be of, for rules that need it. */
  readonly curvature?: CurvatureRequest;
  /** @param params f32. */
  init(params: TensorTree, model?: ModelStructure): B;
  /** @param gradients f32, or the updates of the rule before. */
  update(gradients: TensorTree, buffers: B, context: UpdateContext): readonly [updates: TensorTree, buffers: B];
  /** The parameters to evaluate the model at, for methods that average; `context.step` counts the updates done. */
  evalParams?(buffers: B, context: EvalContext): TensorTree;
  /** Whether the update of index `step` = 0, 1, … does its rare expensive part; a rule without has none. */
  refreshesAt?(step: number): Refresh;
  /** Scalars worth watching that the rule found itself, by name. */
  quantities?(buffers: B): Readonly<Record<string, Tensor>>;
}

/**
 * A gradient transformation: a pair of pure functions over trees of lazy tensors. New parameters are parameters plus
 * updates ({@link applyUpdates}).
 *
 * @example
 * const optimizer = adam({ learningRate: 1e-3 });
 * let state = optimizer.init(params);
 * const [updates, next] = optimizer.update(gradients, state, params);
 */
export interface GradientTransformation {
  readonly rule: Rule;
  /**
   * The state before the first update.
   *
   * @param model For rules that need `extra.kronecker`: what `kroneckerCurvature` says of the model.
   */
  init(params: unknown, model?: ModelStructure): OptimizerState;
  /** What {@link Extra.refresh} is to be in the update of index `step` = 0, 1, …: a number of the host. */
  refreshesAt(step: number): Refresh;
  /**
   * One update.
   *
   * @param gradients A tree like `params`. f16 counts as f32 from here on: state and updates are f32.
   * @throws ArgumentError if the structures differ, or `extra` lacks what a rule needs.
   */
  update<P>(
    gradients: P,
    state: OptimizerState,
    params: P,
    extra?: Extra,
  ): readonly [updates: P, state: OptimizerState];
}

/** What is needed to write a transformation; all but `update` can be left out. */
export interface RuleDefinition<B extends TensorTree> {
  readonly name: string;
  readonly constants?: readonly Constant[];
  readonly needs?: readonly Need[];
  readonly curvature?: CurvatureRequest;
  readonly init?: (params: TensorTree, model?: ModelStructure) => B;
  readonly update: Rule<B>["update"];
  readonly evalParams?: (buffers: B, context: EvalContext) => TensorTree;
  readonly refreshesAt?: (step: number) => Refresh;
  readonly quantities?: (buffers: B) => Readonly<Record<string, Tensor>>;
}

/**
 * Makes a transformation of one rule.
 *
 * @example
 * const signs = transformation({
 *   name: "signs",
 *   update: (gradients, buffers) => [mapTensors((g) => g.sign(), gradients), buffers],
 * });
 */
export function transformation<B extends TensorTree = null>(definition: RuleDefinition<B>): GradientTransformation {
  const { constants = [], needs = [], init = () => null as B, ...rest } = definition;
  return withState({ ...rest, constants, needs, init } as unknown as Rule);
}

/** Adds the step counter and the hyperparameters to a rule. */
export function withState(rule: Rule): GradientTransformation {
  const { name, constants, needs } = rule;
  const numbers = packNumbers(constants);
  return {
    rule,
    init: (params, model) => ({
      step: tensor(Uint32Array.of(0), { shape: [] }),
      hyperparameters: numbers.length === 0 ? null : tensor(Float32Array.from(numbers)),
      buffers: rule.init(inFloat32(params as TensorTree), model),
    }),
    refreshesAt: (step) => rule.refreshesAt?.(step) ?? false,
    update: (gradients, state, params, extra = {}) => {
      const missing = needs.find((need) => extra[need] === undefined);
      if (missing !== undefined) {
        throw new ArgumentError(`${name} needs the ${missing}: pass { ${missing} } as fourth argument of update.`);
      }
      const { step, hyperparameters } = state;
      const context = {
        params: inFloat32(params as TensorTree),
        step,
        constant: unpack(constants, hyperparameters, step),
        extra: extraInFloat32(extra, params as TensorTree),
      };
      const [updates, buffers] = rule.update(inFloat32(gradients as TensorTree), state.buffers, context);
      return [updates as typeof gradients, { step: step.add(1), hyperparameters, buffers }];
    },
  };
}

/**
 * The parameters at which the model is to be evaluated: those of training, unless the optimizer averages.
 *
 * @param params The parameters after the last update.
 */
export function evalParams<P>({ rule }: GradientTransformation, state: OptimizerState, params: P): P {
  if (rule.evalParams === undefined) return params;
  const { step, hyperparameters, buffers } = state;
  const own = params as TensorTree;
  const constant = unpack(rule.constants, hyperparameters, step);
  const point = rule.evalParams(buffers, { params: inFloat32(own), step, constant });
  return mapTensors((x, like) => x.cast(like.dtype), point, own) as P;
}

const inFloat32 = (tree: TensorTree): TensorTree => mapTensors((x) => x.cast("f32"), tree);

/** The same with trees of f32 on this side, and trees of the parameters' dtypes on the other. */
function extraInFloat32(extra: Extra, like: TensorTree): Extra {
  const { valueAndGrad, curvatureDiagonal } = extra;
  return {
    ...extra,
    ...(valueAndGrad && {
      valueAndGrad(point) {
        const [loss, gradients] = valueAndGrad(mapTensors((x, own) => x.cast(own.dtype), point, like));
        return [loss.cast("f32"), inFloat32(gradients)];
      },
    }),
    ...(curvatureDiagonal && { curvatureDiagonal: () => inFloat32(curvatureDiagonal()) }),
  };
}

/** Reads hyperparameters by name from the vector in the state. */
function unpack(constants: readonly Constant[], vector: Tensor | null, now: Tensor): UpdateContext["constant"] {
  const scalars = new Map<string, readonly Tensor[]>();
  let offset = 0;
  for (const { name, value, derive } of numbersOf(constants)) {
    const start = offset;
    offset += derive(value).length;
    const positions = Array.from({ length: offset - start }, (_, index) => start + index);
    scalars.set(
      name,
      positions.map((position) => (vector as Tensor).slice([position], [position + 1]).reshape([])),
    );
  }
  const byName = new Map(constants.map((own) => [own.name, own]));
  return (name, step = now) => {
    const own = byName.get(name);
    if (own === undefined) throw unknownName("hyperparameter", name, [...byName.keys()]);
    const { value, deriveOnDevice } = own;
    if (typeof value === "number") return scalars.get(name) as readonly Tensor[];
    const { evaluate } = value;
    const part = (inner: string) => scalars.get(`${name}.${inner}`)?.[0] as Tensor;
    return deriveOnDevice(evaluate === undefined ? value(step) : evaluate(step, part));
  };
}

/**
 * What an optimizer found by itself, by name, such as the learning rate that a rate-free method estimates: f32 scalars.
 *
 * @example const { distance } = quantities(optimizer, state);
 */
export function quantities({ rule }: GradientTransformation, { buffers }: OptimizerState): Record<string, Tensor> {
  return { ...rule.quantities?.(buffers) };
}

/**
 * The state with other values of hyperparameters. Compiled programs run on as they are.
 *
 * @param values By the names of the options that made the optimizer; in a {@link partition}, after the label and a dot.
 *   What an option's value left out of the rule, such as a weight decay of 0, cannot be set.
 * @throws ArgumentError for an unknown name, with the nearest one, and for a value outside of its range.
 */
export function setHyperparameters(
  optimizer: GradientTransformation,
  state: OptimizerState,
  values: Readonly<Record<string, number>>,
): OptimizerState {
  const { constants, name: owner } = optimizer.rule;
  const all = numbersOf(constants);
  const names = all.map(({ name }) => name);
  for (const name of Object.keys(values)) {
    if (!names.includes(name)) throw unknownName(`hyperparameter of ${owner}`, name, names);
  }
  if (state.hyperparameters === null) return state;
  const isSet: boolean[] = [];
  const numbers: number[] = [];
  for (const { name, value, range, derive } of all) {
    const chosen = Object.hasOwn(values, name) ? (values[name] as number) : value;
    checkRange(`${owner}: ${name}`, chosen, range);
    for (const number of derive(chosen)) {
      isSet.push(Object.hasOwn(values, name));
      numbers.push(number);
    }
  }
  return { ...state, hyperparameters: where(tensor(isSet), tensor(numbers), state.hyperparameters) };
}

/** An error for a name that does not exist, with the nearest one and all of them. */
export function unknownName(what: string, name: string, known: readonly string[]): ArgumentError {
  const nearest = nearestName(name, known);
  const guess = nearest === undefined ? "" : ` Did you mean "${nearest}"?`;
  return new ArgumentError(`Unknown ${what} "${name}".${guess} Known: ${known.join(", ") || "none"}.`);
}
