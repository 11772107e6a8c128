import { hvp, valueAndGrad, vmap } from "@thalweg/autograd";
import {
  applyUpdates,
  type Extra,
  evalParams,
  type GradientTransformation,
  mapTensors,
  type Need,
  type OptimizerRecord,
  type OptimizerState,
} from "@thalweg/optim";
import {
  compile,
  type Device,
  foldIn,
  type Key,
  key,
  normal,
  type Program,
  scan,
  type Tensor,
  tensor,
  treeLeaves,
} from "@thalweg/tensor";
import { tensorOf } from "../formula/evaluate";
import type { Expression } from "../formula/expression";
import type { Options } from "../optimizers";

/** Steps of one call of a program. Longer paths are several calls. */
export const stepsPerCall = 100;

/** What a function of two numbers can give; methods that ask for more, such as factors of layers, have nothing to do here. */
const given: readonly Need[] = ["loss", "valueAndGrad", "curvatureDiagonal"];

/** Whether a method can run on a function of two numbers. */
export const canRun = (record: OptimizerRecord): boolean => record.needs().every((need) => given.includes(need));

/** Gradient noise as a stochastic method meets it: the same for all methods that have the seed. */
export interface Noise {
  /** Standard deviation of each component of the gradient. */
  readonly deviation: number;
  readonly seed: number;
}

/** One row, as methods for matrices want it: `[1, 2]`. (Types, so that they count as trees.) */
type Params = { readonly point: Tensor };
type State = { readonly params: Params; readonly optimizer: OptimizerState };
/** What the noise of one call is made of. */
type Draw = { readonly key: Key; readonly deviation: Tensor };

type Start = readonly [x: number, y: number];

/** One optimizer on one formula, compiled: values of hyperparameters, start and noise change without compiling again. */
export interface PathProgram {
  /**
   * The points after each step, {@link stepsPerCall} at a time, without end: x, y, x, y, …. They are where the method would
   * have the model evaluated.
   *
   * @param options Of the same {@link structureOf} as those that the program was made with.
   */
  path(options: Options, start: Start, noise: Noise): AsyncGenerator<Float32Array, never>;
  /** The points after `calls` times {@link stepsPerCall} steps for several values of hyperparameters at once. */
  ends(options: readonly Options[], start: Start, noise: Noise, calls: number): Promise<Float32Array>;
  dispose(): void;
}

/**
 * What of an optimizer's options is compiled in: everything but the numbers that its state holds. Which those are depends on
 * the values: a weight decay of 0 is left out of the program.
 */
export function structureOf(record: OptimizerRecord, options: Options): string {
  const held = record.create(options).rule.constants.map(({ name }) => name);
  const fixed = Object.entries(options).filter(([name]) => !held.includes(name));
  return JSON.stringify([record.name, fixed.sort(), held]);
}

/** Compiles an optimizer's way on a formula. */
export function compilePath(
  formula: Expression,
  record: OptimizerRecord,
  options: Options,
  device: Device,
): PathProgram {
  const optimizer = record.create(options);
  const run = (state: State, draw: Draw) => manySteps(formula, optimizer, state, draw);
  const one = compile(run, { donate: [0], device, name: `path of ${record.name}` });
  let many: Program<[State, Draw], readonly [State, Tensor]> | undefined;
  const begin = (own: Options, [x, y]: Start): State => {
    const params = { point: tensor([[x, y]]) };
    return { params, optimizer: record.create(own).init(params) };
  };
  return {
    async *path(own, start, noise) {
      let state = begin(own, start);
      try {
        for (let call = 0; ; call++) {
          const [next, points] = one(state, drawOf(noise, call));
          state = next;
          yield await take(points);
        }
      } finally {
        release(state);
      }
    },
    async ends(all, start, noise, calls) {
      many ??= compile((states: State, draw: Draw) => vmap(lastOf(run), { in: [0, null] })(states, draw), {
        donate: [0],
        device,
        name: `ends of ${record.name}`,
      });
      let state = await stackStates(all.map((own) => begin(own, start)));
      try {
        for (let call = 1; ; call++) {
          const [next, ends] = many(state, drawOf(noise, call - 1));
          state = next;
          if (call === calls) return await take(ends);
          ends.dispose();
        }
      } finally {
        release(state);
      }
    },
    dispose() {
      one.dispose();
      many?.dispose();
    },
  };
}

/** {@link stepsPerCall} steps in one program. */
function manySteps(
  formula: Expression,
  optimizer: GradientTransformation,
  state: State,
  { key: from, deviation }: Draw,
): readonly [State, points: Tensor] {
  const step = (own: State, pull: Tensor): readonly [State, Tensor] => {
    const loss = ({ point }: Params): Tensor => {
      const [x, y] = [0, 1].map((axis) => point.slice([0, axis], [1, axis + 1]).reshape([])) as [Tensor, Tensor];
      // Noise as the two-dimensional problems of DeepOBS have it: f(x, y) + u x + v y.
      return tensorOf(formula, x, y).add(point.mul(pull.reshape([1, 2])).sum());
    };
    const [value, gradients] = valueAndGrad(loss)(own.params);
    const extra: Extra = {
      loss: value,
      valueAndGrad: (at) => valueAndGrad(loss)(at as Params),
      curvatureDiagonal: () => ({ point: curvatureDiagonal(loss, own.params.point) }),
    };
    const [updates, next] = optimizer.update(gradients, own.optimizer, own.params, extra);
    const params = applyUpdates(own.params, updates);
    return [{ params, optimizer: next }, evalParams(optimizer, next, params).point.reshape([2])];
  };
  return scan(step, state, normal(from, [stepsPerCall, 2]).mul(deviation));
}

/** The diagonal of the Hessian: its products with both axes. */
function curvatureDiagonal(loss: (params: Params) => Tensor, point: Tensor): Tensor {
  const parts = [0, 1].map((axis) => {
    const direction = point.iotaLike(1).equal(axis).cast("f32");
    return hvp(loss, { point }, { point: direction }).point.mul(direction);
  }) as [Tensor, Tensor];
  return parts[0].add(parts[1]);
}

/** The same run, of whose points only the last one is returned. */
const lastOf =
  (run: (state: State, draw: Draw) => readonly [State, Tensor]) =>
  (state: State, draw: Draw): readonly [State, Tensor] => {
    const [next, points] = run(state, draw);
    return [next, points.slice([stepsPerCall - 1], [stepsPerCall]).reshape([2])];
  };

function drawOf({ deviation, seed }: Noise, call: number): Draw {
  return { key: foldIn(key(seed), call), deviation: tensor([deviation]).reshape([]) };
}

/** States that differ in their hyperparameters only, as one with a first axis more. */
async function stackStates(states: readonly State[]): Promise<State> {
  const count = states.length;
  // There is one state at least.
  const { params, optimizer } = states[0] as State;
  const numbers = await Promise.all(states.map(async (state) => state.optimizer.hyperparameters?.data() ?? []));
  const repeated = (x: Tensor): Tensor =>
    x
      .expandDims(0)
      .expand([count, ...x.shape])
      .add(0);
  const width = numbers[0]?.length ?? 0;
  return {
    params: mapTensors(repeated, params) as Params,
    optimizer: {
      step: repeated(optimizer.step),
      hyperparameters:
        optimizer.hyperparameters &&
        tensor(Float32Array.from(numbers.flatMap((own) => Array.from(own))), { shape: [count, width] }),
      buffers: mapTensors(repeated, optimizer.buffers),
    },
  };
}

/** Reads a tensor and frees it. */
async function take(values: Tensor): Promise<Float32Array> {
  try {
    return (await values.data()) as Float32Array;
  } finally {
    values.dispose();
  }
}

/** Gives a state's memory back to its program, for the next path. */
function release(state: State): void {
  for (const leaf of treeLeaves<Tensor>(state)) leaf.dispose();
}
