/** KFRA: factors of the gradients by a recursion on matrices that are averaged over the examples. */
import { vmap } from "@thalweg/autograd";
import {
  type Equation,
  equationsBetween,
  eye,
  identity,
  pullback,
  type Tensor,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
  UnsupportedError,
} from "@thalweg/tensor";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs, lossScale } from "../problem";
import { type Block, blocksOf, type EmbeddingBlock, type KroneckerBlock } from "./blocks";
import { type Factors, type MatrixFactors, shifted } from "./factors";
import { type KroneckerOptions, kroneckerCurvature, resolveOptions } from "./kronecker-curvature";
import { inRows } from "./rows";
import { usesOfParameters } from "./uses";

export interface RecursionOptions extends Pick<KroneckerOptions, "flavour" | "maxDenseRows"> {
  /** The largest number of elements of all examples' Jacobians between layers. Default 2^26. */
  readonly limit?: number;
}

type LayerBlock = KroneckerBlock | EmbeddingBlock;

/** One place of the network that everything passes, and what lies between it and the next one. */
interface Link {
  readonly at: Tensor;
  /** Derivatives of the next one, `[next, own]`; absent at the outputs. */
  readonly jacobian: Tensor | undefined;
}

/**
 * Kronecker factors with B by averaged recursion: H̄ of the outputs is the mean of the examples' Hessians, and H̄ of every
 * earlier place the mean of Jᵀ H̄ J, J the examples' Jacobians to the next place that all information passes. For networks
 * that are chains, with outputs of layers that are not too long; other parameters than those of layers have their exact 2 × 2
 * blocks or diagonals.
 *
 * @throws UnsupportedError if a layer is not on the chain (beside a skip connection, or used several times), or Jacobians are
 *   too large.
 * @see Botev, Ritter and Barber, Practical Gauss-Newton optimisation for deep learning (2017)
 */
export function recursiveFactors<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  { limit = 2 ** 26, ...options }: RecursionOptions = {},
): Factors {
  const examples = batchSize("recursiveFactors", batch);
  const { leaves, paths, structure } = treeFlatten<Tensor>(params);
  // What the graph of one example looks like, noted while vmap calls its function.
  const traced: { blocks: readonly Block[]; links: readonly Link[]; terms: number } = {
    blocks: [],
    links: [],
    terms: 0,
  };
  const one = (example: X): { readonly jacobians: readonly Tensor[]; readonly root: Tensor } => {
    const roots = leaves.map(identity);
    const outputs = exampleOutputs(problem, treeUnflatten(structure, roots) as P, example);
    const terms = outputs.shape[0] as number;
    const { flavour, maxDenseRows } = resolveOptions(options as KroneckerOptions, terms);
    const found = usesOfParameters(roots, treeLeaves<Tensor>(example), [outputs]);
    const described = roots.map(({ shape }, index) => ({ path: paths[index] as TreePath, shape }));
    const blocks = blocksOf(found, described, { flavour, terms, maxDenseRows });
    const places = placesOfChain(treeLeaves<Tensor>(example), outputs);
    const links = linksFrom(firstOf(blocks, places), places, examples, limit);
    Object.assign(traced, { blocks, links, terms });
    const jacobians = links.flatMap(({ jacobian }) => (jacobian === undefined ? [] : [jacobian]));
    return { jacobians, root: problem.loss.hessianRoot(outputs) };
  };
  const { jacobians, root } = vmap(one)(batch.inputs);
  const { blocks, links, terms } = traced;
  const scale = lossScale(problem, examples, terms);

  const ofPlaces = new Map<Tensor, Tensor>();
  let matrix = meanHessian(root);
  for (let index = links.length - 1; index >= 0; index--) {
    const jacobian = jacobians[index];
    if (jacobian !== undefined) {
      const turned = matrix.dot(jacobian, { contract: [[1], [1]] });
      matrix = jacobian
        .dot(turned, {
          contract: [
            [0, 1],
            [1, 0],
          ],
        })
        .div(examples);
    }
    ofPlaces.set((links[index] as Link).at, matrix);
  }

  const factorsWith = (fisher: "forward" | "type2"): Factors =>
    kroneckerCurvature(problem, params, batch, { ...options, fisher }).evaluate(params, batch).factors;
  const inputs = factorsWith("forward");
  const exact = blocks.every(isLayer) ? inputs : factorsWith("type2");
  return Object.fromEntries(
    blocks.map((block) => {
      if (!isLayer(block)) return [block.name, exact[block.name]];
      const [tap] = block.taps as readonly [KroneckerBlock["taps"][0]];
      const own = gradientFactor(block, tap, ofPlaces.get(tap.output) as Tensor).mul(scale * examples);
      const { a, b } = inputs[block.name] as MatrixFactors;
      return [block.name, { a, b: own.reshape(b.shape) }];
    }),
  ) as Factors;
}

const isLayer = (block: Block): block is LayerBlock => block.kind === "kronecker" || block.kind === "embedding";

/**
 * The tensors of one example that everything on the way to the outputs passes, in order; the outputs are the last one. Those
 * that elements were only moved to, such as unfolded windows, are left out: to stop there changes nothing, and they are large.
 */
function placesOfChain(examples: readonly Tensor[], outputs: Tensor): Tensor[] {
  const equations: readonly Equation[] = equationsBetween(examples, [outputs]);
  const lastUse = new Map<Tensor, number>();
  equations.forEach(({ inputs }, position) => {
    for (const input of inputs) lastUse.set(input, position);
  });
  lastUse.set(outputs, Number.POSITIVE_INFINITY);
  let waiting = examples.filter((example) => lastUse.has(example));
  return equations.flatMap((equation, position) => {
    const isNeeded = (tensor: Tensor): boolean => (lastUse.get(tensor) ?? -1) > position;
    waiting = [...waiting, ...equation.outputs].filter(isNeeded);
    const isMoved = movements.has(equation.primitive.lowering.kind) && waiting[0] !== outputs;
    return waiting.length === 1 && !isMoved ? (waiting as [Tensor]) : [];
  });
}

const movements: ReadonlySet<string> = new Set(["movement", "alias"]);

/** Where the first layer is, of which all have to be on the chain. */
function firstOf(blocks: readonly Block[], places: readonly Tensor[]): number {
  const positions = blocks.filter(isLayer).map(({ name, taps, remarks }) => {
    const position = places.indexOf((taps[0] as LayerBlock["taps"][0]).output);
    if (taps.length === 1 && remarks.length === 0 && position >= 0) return position;
    throw new UnsupportedError(
      `recursiveFactors: the outputs of ${name} are not the only way to the loss, or it is used several times. Take fisher ` +
        '"type2" or "mc" of kroneckerCurvature.',
    );
  });
  return Math.min(places.length - 1, ...positions);
}

/** The chain from a place on, with Jacobians from each to the next one. */
function linksFrom(first: number, places: readonly Tensor[], examples: number, limit: number): Link[] {
  const used = places.slice(first);
  const elements = used.reduce((sum, at, index) => sum + at.size * (used[index + 1]?.size ?? 0), 0) * examples;
  if (elements > limit) {
    throw new UnsupportedError(
      `recursiveFactors: the Jacobians of ${examples} examples have ${elements} elements, more than ${limit}. Take a smaller ` +
        'batch, fisher "mc" of kroneckerCurvature, or raise limit.',
    );
  }
  return used.map((at, index) => {
    const next = used[index + 1];
    return { at, jacobian: next === undefined ? undefined : jacobianBetween(at, next) };
  });
}

function jacobianBetween(from: Tensor, to: Tensor): Tensor {
  const pull = pullback([from], [to]);
  const rows = vmap((unit: Tensor) => pull([unit])[0] ?? from.zerosLike())(
    eye(to.size).reshape([to.size, ...to.shape]),
  );
  return rows.reshape([to.size, from.size]);
}

/** The mean of Σ_k s sᵀ over examples, terms apart: `[M · C, M · C]` from `[N, M, K, C]`. */
function meanHessian(root: Tensor): Tensor {
  const [examples, terms, , outputs] = root.shape as [number, number, number, number];
  const own = root
    .dot(root, {
      batch: [[1], [1]],
      contract: [
        [0, 2],
        [0, 2],
      ],
    })
    .div(examples);
  const apart = own.expandDims(2).mul(eye(terms).reshape([terms, 1, terms, 1]));
  return apart.reshape([terms * outputs, terms * outputs]);
}

/** B of a layer from the matrix of all its outputs: `[groups, out, out]`. */
function gradientFactor({ flavour }: LayerBlock, { output, result }: LayerBlock["taps"][0], matrix: Tensor): Tensor {
  const rows = (x: Tensor): Tensor => inRows(x.reshape([output.size, ...output.shape]), shifted(result, 1), 1);
  const [, groups, positions, outs] = rows(matrix).shape as [number, number, number, number];
  const half = rows(matrix).reshape([output.size, output.size]).transpose();
  const pairs = rows(half).reshape([groups, positions, outs, groups, positions, outs]);
  const isSame = (extent: number, axis: 0 | 1): Tensor => {
    const shape = [1, 1, 1, 1, 1, 1];
    shape[axis] = extent;
    shape[axis + 3] = extent;
    return eye(extent).reshape(shape);
  };
  const inGroup = pairs.mul(isSame(groups, 0));
  const kept = flavour === "reduce" ? inGroup : inGroup.mul(isSame(positions, 1));
  return kept.sum({ axis: [1, 3, 4] });
}
