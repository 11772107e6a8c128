/** One pass over a batch: what every layer saw, and what was sent back to it. */
import { vmap } from "@thalweg/autograd";
import {
  type Equation,
  equationsBetween,
  full,
  identity,
  type Key,
  pullback,
  replay,
  split,
  type Tensor,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
} from "@thalweg/tensor";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs, exampleTargets, lossScale } from "../problem";
import { type Block, blocksOf, type Flavour } from "./blocks";
import { usesOfParameters } from "./uses";
import { outputVectors, type VectorOptions } from "./vectors";

/** Which positions of an example are real: bool, of the shape of the positions of the layers that it is meant for. */
export type PositionMask<X> = (example: X) => Tensor;

export interface CollectOptions<X> extends VectorOptions {
  readonly flavour: Flavour | "auto" | ((name: string) => Flavour | "auto");
  readonly mask?: PositionMask<X> | undefined;
  readonly maxDenseRows: number;
  /** How many of the batch, its first ones, are measured; undefined: all. */
  readonly measured?: number | undefined;
}

/** What random vectors are made of: a key, or targets `[draws, N, …]` that were drawn before. */
export interface Draws {
  readonly key?: Key | undefined;
  readonly targets?: Tensor | undefined;
}

/** A use of a layer's weight in the examples that are measured. */
export interface CollectedTap {
  /** `[N, …activations]`, or the indices of a lookup. */
  readonly inputs: Tensor;
  /** `[N, K, …output]`. */
  readonly gradients: Tensor;
}

export interface Collected {
  /** N: how many examples are measured. Loss, outputs and gradients are those of the whole batch. */
  readonly examples: number;
  readonly terms: number;
  /** ρ, times the examples of the batch for each one that is measured: sums over these estimate sums over the batch. */
  readonly scale: number;
  readonly blocks: readonly Block[];
  /** L. */
  readonly loss: Tensor;
  /** `[batch, M, C]`. */
  readonly outputs: Tensor;
  /** The gradient of L, one tensor per parameter. */
  readonly gradients: readonly Tensor[];
  /** In the order of the block's taps. */
  taps(block: Block): readonly CollectedTap[];
  /** Gradients of the vectors for a parameter outside of the layers' blocks: `[N, K, …parameter]`. */
  vectorGradients(parameter: number): Tensor;
  /** `[N, …positions]`, bool. */
  readonly mask: Tensor | undefined;
}

/** What is measured in one example. (A type, so that it counts as a tree.) */
type Measured = {
  /** Of every tap. */
  readonly inputs: readonly Tensor[];
  /** Cotangents of the vectors at every tap. */
  readonly sent: readonly Tensor[];
  /** Of the vectors, for the parameters outside of the layers' blocks. */
  readonly outside: readonly Tensor[];
  readonly mask: Tensor | null;
};

/** What the graph of one example looks like. */
interface Traced extends Division {
  readonly blocks: readonly Block[];
  readonly terms: number;
  readonly measured: Measured;
}

/** Which part of a graph is computed for all examples, and which for those alone that are measured. */
interface Division {
  /** What all examples compute and the measurement goes on from. */
  readonly known: readonly Tensor[];
  /** From there to what is measured. */
  readonly measurement: readonly Equation[];
}

/**
 * Runs model and loss forwards once, and backwards once for the gradient and once for each vector, all in one graph, so that
 * a training step that wants gradient and curvature pays for one forward pass. Where not all examples are measured, vectors
 * go back through the first ones alone, from what the forward pass left for them.
 */
export function collect<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: CollectOptions<X>,
  draws: Draws,
): Collected {
  const size = batchSize("kroneckerFactors", batch);
  const examples = Math.min(options.measured ?? size, size);
  const { leaves, paths, structure } = treeFlatten<Tensor>(params);
  // Noted while vmap calls its function, once.
  const traces: Traced[] = [];
  const one = (example: X, target: Tensor, key: Key | null, drawn: Tensor | null) => {
    const roots = leaves.map(identity);
    const outputs = exampleOutputs(problem, treeUnflatten(structure, roots) as P, example);
    const terms = outputs.shape[0] as number;
    const found = usesOfParameters(roots, treeLeaves<Tensor>(example), [outputs]);
    const described = roots.map(({ shape }, index) => ({ path: paths[index] as TreePath, shape }));
    const blocks = blocksOf(found, described, { ...options, terms });

    const targets = exampleTargets(problem.loss, outputs, target);
    const taps = blocks.flatMap(tapsOf);
    const observed = taps.map(({ output }) => output);
    const pull = pullback(roots, [outputs], observed);
    const back = (vector: Tensor): Tensor[] =>
      pull([vector]).map(
        (cotangent, index) => cotangent ?? (roots[index] ?? (observed[index - roots.length] as Tensor)).zerosLike(),
      );
    const outside = blocks.flatMap(parametersOutside);
    const chosen = (all: readonly Tensor[]): Tensor[] => [
      ...outside.map((parameter) => all[parameter] as Tensor),
      ...all.slice(roots.length),
    ];
    const slopes = back(problem.loss.gradient(outputs, targets));
    const vectors = outputVectors(problem.loss, outputs, targets, options, {
      key: key ?? undefined,
      targets: drawn ?? undefined,
    });
    const cotangents = sendBack();
    const measured: Measured = {
      inputs: taps.map((tap) => ("activations" in tap ? tap.activations : tap.indices)),
      outside: cotangents.slice(0, outside.length),
      sent: cotangents.slice(outside.length),
      mask: options.mask === undefined ? null : options.mask(example),
    };
    const loss = problem.loss.value(outputs, targets).sum();
    const given = treeLeaves<Tensor>([example, target, key, drawn]);
    const division = divide(given, [loss, outputs, ...slopes], treeLeaves<Tensor>(measured));
    traces.push({ blocks, terms, measured, ...division });
    return { loss, outputs, gradients: slopes.slice(0, roots.length), known: division.known };

    /** All vectors through one backward pass. The gradient of the loss, where it is the one vector, is sent but once. */
    function sendBack(): Tensor[] {
      if (options.fisher === "empirical") return chosen(slopes).map((slope) => slope.expandDims(0));
      if (vectors.shape[0] === 0) return chosen([...roots, ...observed]).map(noVector);
      return vmap((vector: Tensor) => chosen(back(vector)))(vectors);
    }
  };
  const keys = draws.key === undefined ? null : split(draws.key, size);
  const all = vmap(one, { in: [0, 0, keys === null ? null : 0, draws.targets === undefined ? null : 1] })(
    batch.inputs,
    batch.targets,
    keys,
    draws.targets ?? null,
  );
  const [{ blocks, terms, known, measurement, measured }] = traces as [Traced];
  const { leaves: wanted, structure: shape } = treeFlatten<Tensor>(measured);
  const own = vmap(
    (values: readonly Tensor[]) => treeUnflatten(shape, replay(measurement, known, wanted, values)) as Measured,
    { size: examples },
  )(all.known.map((values) => values.slice([0], [examples])));
  const scale = lossScale(problem, size, terms);
  const order = blocks.flatMap((block) => tapsOf(block).map(() => block));
  const outside = blocks.flatMap(parametersOutside);
  return {
    examples,
    terms,
    scale: scale * (size / examples),
    blocks,
    loss: all.loss.sum().mul(scale),
    outputs: all.outputs,
    gradients: all.gradients.map((gradient) => gradient.sum({ axis: 0 }).mul(scale)),
    taps: (block) =>
      order.flatMap((each, position) =>
        each === block ? [{ inputs: own.inputs[position] as Tensor, gradients: own.sent[position] as Tensor }] : [],
      ),
    vectorGradients: (parameter) => own.outside[outside.indexOf(parameter)] as Tensor,
    mask: own.mask ?? undefined,
  };
}

/** Whatever is computed for all examples is not computed once more for those that are measured. */
function divide(given: readonly Tensor[], ofAll: readonly Tensor[], measured: readonly Tensor[]): Division {
  // Views are made anew: rewrites of windows want to see all of one.
  const computed = equationsBetween(given, ofAll)
    .filter(({ primitive }) => primitive.lowering.kind !== "movement")
    .flatMap(({ outputs }) => outputs);
  const measurement = equationsBetween([...given, ...computed], measured);
  const read = new Set([...measurement.flatMap(({ inputs }) => inputs), ...measured]);
  return { known: [...given, ...computed].filter((tensor) => read.has(tensor)), measurement };
}

/** What is sent back where there are no vectors: one of zeros. */
const noVector = ({ shape }: Tensor): Tensor => full([1, ...shape], 0);

const tapsOf = (block: Block) => (block.kind === "kronecker" || block.kind === "embedding" ? [...block.taps] : []);

const parametersOutside = (block: Block): number[] => {
  if (block.kind === "unitwise") return [block.scale.index, block.shift.index];
  return block.kind === "diagonal" ? [block.parameter.index] : [];
};
