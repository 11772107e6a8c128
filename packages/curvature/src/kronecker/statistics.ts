/** One pass over a batch: what every layer saw, and what was sent back to it. */
import { vmap } from "@thalweg/autograd";
import {
  full,
  identity,
  type Key,
  pullback,
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
}

/** What random vectors are made of: a key, or targets `[draws, N, …]` that were drawn before. */
export interface Draws {
  readonly key?: Key | undefined;
  readonly targets?: Tensor | undefined;
}

/** A use of a layer's weight in all examples. */
export interface CollectedTap {
  /** `[N, …activations]`, or the indices of a lookup. */
  readonly inputs: Tensor;
  /** `[N, K, …output]`. */
  readonly gradients: Tensor;
}

export interface Collected {
  readonly examples: number;
  readonly terms: number;
  /** ρ. */
  readonly scale: number;
  readonly blocks: readonly Block[];
  /** L. */
  readonly loss: Tensor;
  /** `[N, M, C]`. */
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

/**
 * Runs model and loss forwards once and backwards once for each vector, all in one graph. The gradient of L comes from
 * the same graph, so that a training step that wants both pays for one forward pass.
 */
export function collect<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: CollectOptions<X>,
  draws: Draws,
): Collected {
  const examples = batchSize("kroneckerFactors", batch);
  const { leaves, paths, structure } = treeFlatten<Tensor>(params);
  // What the graph of one example looks like, noted while vmap calls its function.
  const traced: { blocks: readonly Block[]; terms: number } = { blocks: [], terms: 0 };
  const one = (example: X, target: Tensor, key: Key | null, drawn: Tensor | null) => {
    const roots = leaves.map(identity);
    const outputs = exampleOutputs(problem, treeUnflatten(structure, roots) as P, example);
    const terms = outputs.shape[0] as number;
    const found = usesOfParameters(roots, treeLeaves<Tensor>(example), [outputs]);
    const described = roots.map(({ shape }, index) => ({ path: paths[index] as TreePath, shape }));
    const blocks = blocksOf(found, described, { ...options, terms });
    Object.assign(traced, { blocks, terms });

    const targets = exampleTargets(problem.loss, outputs, target);
    const vectors = outputVectors(problem.loss, outputs, targets, options, {
      key: key ?? undefined,
      targets: drawn ?? undefined,
    });
    const taps = blocks.flatMap(tapsOf);
    const outside = blocks.flatMap(parametersOutside);
    const observed = taps.map(({ output }) => output);
    const pull = pullback(roots, [outputs], observed);
    const back = (vector: Tensor): Tensor[] => {
      const all = pull([vector]).map((cotangent, index) => cotangent ?? zerosOf(roots, observed, index));
      return [...outside.map((parameter) => all[parameter] as Tensor), ...all.slice(roots.length)];
    };
    const gradient = problem.loss.gradient(outputs, targets);
    const gradients = pull([gradient]).slice(0, roots.length);
    const sent =
      vectors.shape[0] === 0
        ? [...outside.map((parameter) => roots[parameter] as Tensor), ...observed].map(noVector)
        : sendBack(vectors, options.fisher === "empirical" ? gradient : undefined, back);
    return {
      loss: problem.loss.value(outputs, targets).sum(),
      outputs,
      gradients: gradients.map((own, index) => own ?? zerosOf(roots, observed, index)),
      inputs: taps.map((tap) => ("activations" in tap ? tap.activations : tap.indices)),
      outside: sent.slice(0, outside.length),
      sent: sent.slice(outside.length),
      mask: options.mask === undefined ? null : options.mask(example),
    };
  };
  const keys = draws.key === undefined ? null : split(draws.key, examples);
  const all = vmap(one, { in: [0, 0, keys === null ? null : 0, draws.targets === undefined ? null : 1] })(
    batch.inputs,
    batch.targets,
    keys,
    draws.targets ?? null,
  );
  const { blocks, terms } = traced;
  const scale = lossScale(problem, examples, terms);
  const order = blocks.flatMap((block) => tapsOf(block).map((_, index) => ({ block, index })));
  const outside = blocks.flatMap(parametersOutside);
  return {
    examples,
    terms,
    scale,
    blocks,
    loss: all.loss.sum().mul(scale),
    outputs: all.outputs,
    gradients: all.gradients.map((gradient) => gradient.sum({ axis: 0 }).mul(scale)),
    taps: (block) =>
      order.flatMap((own, position) =>
        own.block === block
          ? [{ inputs: all.inputs[position] as Tensor, gradients: all.sent[position] as Tensor }]
          : [],
      ),
    vectorGradients: (parameter) => all.outside[outside.indexOf(parameter)] as Tensor,
    mask: all.mask ?? undefined,
  };
}

/** All vectors through one backward pass. The gradient of the loss, where it is the one vector, is sent but once. */
function sendBack(vectors: Tensor, gradient: Tensor | undefined, back: (vector: Tensor) => Tensor[]): Tensor[] {
  if (gradient !== undefined) return back(gradient).map((cotangent) => cotangent.expandDims(0));
  return vmap(back)(vectors);
}

/** What is sent back where there are no vectors: one of zeros. */
const noVector = ({ shape }: Tensor): Tensor => full([1, ...shape], 0);

const tapsOf = (block: Block) => (block.kind === "kronecker" || block.kind === "embedding" ? [...block.taps] : []);

const parametersOutside = (block: Block): number[] => {
  if (block.kind === "unitwise") return [block.scale.index, block.shift.index];
  return block.kind === "diagonal" ? [block.parameter.index] : [];
};

const zerosOf = (roots: readonly Tensor[], observed: readonly Tensor[], index: number): Tensor =>
  (roots[index] ?? (observed[index - roots.length] as Tensor)).zerosLike();
