import { compile, init, placeholder, type Tensor, treeFlatten, treeLeaves, treeMap } from "@thalweg/tensor";
import { evaluateReference, type NdArray } from "@thalweg/tensor/testing";
import { packNumbers } from "../src/constant";
import type { GradientTransformation, OptimizerState, Refresh } from "../src/index";

/** Everything a step changes. */
export interface StepState<P> {
  readonly params: P;
  readonly optimizer: OptimizerState;
}

/** One step from a state and its inputs. @param refresh See {@link Extra.refresh}. */
export type Step<P, I, R> = (state: StepState<P>, inputs: I, refresh: Refresh) => readonly [StepState<P>, R];

/** What a runner hands back: after every step the parameters and results, leaf by leaf. */
export interface Trace {
  readonly params: readonly (readonly ArrayLike<number>[])[];
  readonly results: readonly (readonly ArrayLike<number>[])[];
  /** Of the results, with dots: `scalars.d`. */
  readonly paths: readonly string[];
}

const pathsOf = (tree: unknown) => treeFlatten<Tensor>(tree).paths.map((path) => path.join("."));

/** Runs steps in float64. Hyperparameters are not rounded to f32 either. */
export function runReference<P, I, R>(
  optimizer: GradientTransformation,
  step: Step<P, I, R>,
  params: P,
  inputs: readonly I[],
): Trace {
  const start: StepState<P> = { params, optimizer: optimizer.init(params) };
  const [first] = inputs;
  const blank = <T>(tree: T): T => treeMap((x: Tensor) => placeholder(x.shape, x.dtype), tree) as T;
  const [stateSlots, inputSlots] = [blank(start), blank(first as I)];
  // One graph for all steps, so that it decides itself when to refresh.
  const [next, result] = step(stateSlots, inputSlots, "start");
  const [slots, outputs] = [treeLeaves<Tensor>(stateSlots), treeLeaves<Tensor>(next)];
  let values = evaluateReference(treeLeaves<Tensor>(start));
  const { hyperparameters } = stateSlots.optimizer;
  const exact = Float64Array.from(packNumbers(optimizer.rule.constants));
  values = values.map((own, index) => (slots[index] === hyperparameters ? { ...own, values: exact } : own));
  const trace: { params: Float64Array[][]; results: Float64Array[][]; paths: string[] } = {
    params: [],
    results: [],
    paths: pathsOf(result),
  };
  const count = treeLeaves(params).length;
  const results = treeLeaves<Tensor>(result);
  for (const input of inputs) {
    const bindings = new Map<Tensor, NdArray>();
    for (const [index, slot] of slots.entries()) bindings.set(slot, values[index] as NdArray);
    const given = evaluateReference(treeLeaves<Tensor>(input));
    for (const [index, slot] of treeLeaves<Tensor>(inputSlots).entries()) bindings.set(slot, given[index] as NdArray);
    const all = evaluateReference([...outputs, ...results], bindings);
    values = all.slice(0, outputs.length);
    trace.params.push(values.slice(0, count).map((own) => own.values));
    trace.results.push(all.slice(outputs.length).map((own) => own.values));
  }
  return trace;
}

/** Runs steps as a compiled program with donated state, or two of them for optimizers that refresh. */
export async function runOnDevice<P, I, R>(
  optimizer: GradientTransformation,
  step: Step<P, I, R>,
  params: P,
  inputs: readonly I[],
): Promise<Trace> {
  await init();
  // Copies, so that what a test holds is not donated.
  const copy = treeMap((x: Tensor) => x.add(0), params) as P;
  const program = compile(
    (state: StepState<P>, input: I, refresh: Refresh) => {
      const [next, result] = step(state, input, refresh);
      return [next, treeMap((x: Tensor) => x.add(0), next.params) as P, result] as const;
    },
    { donate: [0] },
  );
  let state: StepState<P> = { params: copy, optimizer: optimizer.init(params) };
  const seen: [P, R][] = [];
  for (const [index, input] of inputs.entries()) {
    const [next, after, result] = program(state, input, optimizer.refreshesAt(index));
    state = next;
    seen.push([after, result]);
  }
  const read = (tree: unknown) => Promise.all(treeFlatten<Tensor>(tree).leaves.map((leaf) => leaf.data()));
  const trace = {
    params: await Promise.all(seen.map(([own]) => read(own))),
    results: await Promise.all(seen.map(([, own]) => read(own))),
    paths: pathsOf(seen[0]?.[1]),
  };
  program.dispose();
  return trace;
}
