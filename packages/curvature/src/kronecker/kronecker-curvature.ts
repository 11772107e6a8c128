/** Kronecker-factored curvature (K-FAC) of any model, found in the graph of its outputs. */
import { jvp, vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  formatShape,
  identity,
  nearestName,
  placeholder,
  sizeOf,
  stack,
  type Tensor,
  type TreePath,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs, lossScale } from "../problem";
import { type Block, type BlockOptions, blocksOf, type Flavour } from "./blocks";
import { type ClosestOptions, closestFactors } from "./closest-factors";
import type { Inverses } from "./damping";
import { correctEigenvalues, layerGradients } from "./eigenvalue-correction";
import { type FactorOptions, type Factors, factorsOf } from "./factors";
import { type Collected, type CollectOptions, collect, type Draws, type PositionMask } from "./statistics";
import { usesOfParameters } from "./uses";
import { type FisherKind, fisherKinds, requireRandomness } from "./vectors";

export interface KroneckerOptions<X = Tensor> {
  /**
   * `"expand"` treats the positions that share a weight (tokens, pixels) as if they were examples, `"reduce"` sums their
   * gradients and averages their inputs first. `"auto"`, the default: expand where an example has several loss terms and
   * for the keys of an attention, else reduce. A function chooses by the name of the weight.
   */
  readonly flavour?: Flavour | "auto" | ((name: string) => Flavour | "auto");
  /** See {@link FisherKind}. Default: `"mc"` where an example has several loss terms, else `"type2"`. */
  readonly fisher?: FisherKind;
  /** Random vectors per example, for `"mc"` and `"propagation"`. Default 1. */
  readonly draws?: number;
  /**
   * How many examples of a batch, its first ones, are measured: factors and all else that is made of vectors come from them,
   * scaled so that its expectation is that of the whole batch. Loss, outputs, gradients and forms still come from all.
   * Vectors of the others are not sent back. Default: all, as where the batch has fewer.
   *
   * @see Martens and Grosse (2015), section 8: statistics from a part τ₁ of the mini-batch
   */
  readonly examples?: number;
  /**
   * Which positions of one example are real, bool. Layers whose positions have this shape leave the others out.
   * Default: all.
   */
  readonly mask?: PositionMask<X>;
  /** See {@link FactorOptions}. Default `"meanInput"`. */
  readonly reduceNormalization?: "meanInput" | "sumInput";
  /** Embeddings of more rows have a diagonal A in the reduce flavour too. Default 1024. */
  readonly maxDenseRows?: number;
}

/** Curvature with the names and shapes of one model. */
export interface KroneckerCurvature<P, X> {
  readonly blocks: readonly Block[];
  /** Which block every parameter got, and why: one line each. */
  report(): string;
  /**
   * Loss, gradient and factors of a batch, lazily and from one graph: compile what calls it.
   *
   * @param draws a key, where vectors are random.
   */
  evaluate(params: P, batch: Batch<X>, draws?: Draws): Evaluation<P>;
}

/** What one pass over a batch gives. Only what is read is computed, and only then the model is run. */
export interface Evaluation<P> {
  readonly blocks: readonly Block[];
  /** L. */
  readonly loss: Tensor;
  /** The outputs of the batch, a row for each loss term: `[N, M, C]`. */
  readonly outputs: Tensor;
  readonly gradients: P;
  readonly factors: Factors;
  /**
   * dᵢᵀ C dⱼ for trees like the parameters, `[k, k]`, C the exact Gauss-Newton matrix of the batch: what a quadratic model
   * of the loss needs, without a backward pass.
   */
  forms(directions: readonly P[]): Tensor;
  /** Eigenbases with second moments of this batch in place of products of eigenvalues (EKFAC). */
  correct(bases: Inverses): Inverses;
  /**
   * The factors whose Kronecker products are the closest to the exact blocks, in the Frobenius norm (KFOC): some rounds of
   * alternating least squares from given ones, such as {@link factors}. Traces of A stay as they were.
   */
  closest(start: Factors, options?: ClosestOptions): Factors;
  /**
   * The exact block of the curvature for the vectors of this batch, `[groups, out · in, out · in]`: of a layer by the name of
   * its weight. Quadratic in the size of the layer: for tests and for small layers.
   */
  exactBlock(name: string): Tensor;
}

const defaultMaxDenseRows = 1024;

/** Options with their defaults. */
export interface ResolvedOptions<X> extends CollectOptions<X>, FactorOptions {}

/**
 * Looks at a model and says how its curvature falls into blocks; {@link KroneckerCurvature.evaluate} computes them.
 *
 * L = ρ Σ ℓ. The block of a weight is B ⊗ A: A is the mean of products of inputs, B holds ρ and the products of gradients.
 *
 * @param params and `batch` are looked at for their shapes alone.
 * @throws ArgumentError for an unknown option; ShapeError if model, batch and loss do not fit.
 * @see Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature (2015)
 * @see Eschenhagen et al., Kronecker-factored approximate curvature for modern neural network architectures (2023)
 */
export function kroneckerCurvature<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: KroneckerOptions<X> = {},
): KroneckerCurvature<P, X> {
  batchSize("kroneckerCurvature", batch);
  const { flavour = "auto", maxDenseRows = defaultMaxDenseRows } = options;
  const { blocks, terms } = describeBlocks(problem, params, batch, { flavour, maxDenseRows });
  const resolved = resolveOptions(options, terms);
  const { structure } = treeFlatten<Tensor>(params);
  return {
    blocks,
    report: () => reportOf(blocks, resolved),
    evaluate(at, examples, draws = {}) {
      requireRandomness(resolved.fisher, draws);
      const collected = once(() => collect(problem, at, examples, resolved, draws));
      const factors = once(() => factorsOf(collected(), resolved));
      return {
        blocks,
        get loss() {
          return collected().loss;
        },
        get outputs() {
          return collected().outputs;
        },
        get gradients() {
          return treeUnflatten(structure, collected().gradients) as P;
        },
        get factors() {
          return factors();
        },
        forms: (directions) => quadraticForms(problem, at, examples, directions),
        closest: (start, rounds) => closestFactors(collected(), start, rounds),
        correct: (bases) => correctEigenvalues(collected().blocks, bases, collected()),
        exactBlock: (name) => exactBlock(name, collected()),
      };
    },
  };
}

function once<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** See {@link Evaluation.forms}: (J dᵢ)ᵀ Λ (J dⱼ), one forward derivative for each direction. */
function quadraticForms<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  directions: readonly P[],
): Tensor {
  const examples = batchSize("forms", batch);
  const traced = { terms: 0 };
  const one = (example: X): Tensor => {
    const outputs = exampleOutputs(problem, params, example);
    traced.terms = outputs.shape[0] as number;
    const moved = directions.map(
      (direction) => jvp((at: P) => exampleOutputs(problem, at, example), [params], [direction])[1],
    );
    const turned = moved.map((own) => problem.loss.hessianProduct(outputs, own));
    return stack(moved.map((row) => stack(turned.map((column) => row.mul(column).sum()))));
  };
  return vmap(one)(batch.inputs)
    .sum({ axis: 0 })
    .mul(lossScale(problem, examples, traced.terms));
}

function exactBlock(name: string, collected: Collected): Tensor {
  const block = collected.blocks.find((each) => each.name === name);
  if (block?.kind !== "kronecker" && block?.kind !== "embedding") {
    const layers = collected.blocks.filter(({ kind }) => kind === "kronecker" || kind === "embedding");
    throw new ArgumentError(`exactBlock: no layer "${name}". Layers: ${layers.map((layer) => layer.name).join(", ")}.`);
  }
  const columns = layerGradients(block, collected);
  const flat = columns.reshape([...columns.shape.slice(0, 3), -1]);
  return flat
    .dot(flat, {
      batch: [[2], [2]],
      contract: [
        [0, 1],
        [0, 1],
      ],
    })
    .mul(collected.scale);
}

/** The blocks of a model, from shapes alone. */
export function describeBlocks<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  { flavour, maxDenseRows }: Omit<BlockOptions, "terms">,
): { readonly blocks: readonly Block[]; readonly terms: number } {
  const { leaves, paths, structure } = treeFlatten<Tensor>(params);
  const roots = leaves.map(({ shape, dtype }) => identity(placeholder(shape, dtype)));
  const example = treeMap((x: Tensor) => placeholder(x.shape.slice(1), x.dtype), batch.inputs) as X;
  const outputs = exampleOutputs(problem, treeUnflatten(structure, roots) as P, example);
  const terms = outputs.shape[0] as number;
  const found = usesOfParameters(roots, treeLeaves<Tensor>(example), [outputs]);
  const parameters = roots.map(({ shape }, index) => ({ path: paths[index] as TreePath, shape }));
  return { blocks: blocksOf(found, parameters, { flavour, terms, maxDenseRows }), terms };
}

export function resolveOptions<X>(options: KroneckerOptions<X>, terms: number): ResolvedOptions<X> {
  const {
    fisher = terms > 1 ? "mc" : "type2",
    draws = 1,
    examples,
    reduceNormalization = "meanInput",
    maxDenseRows = defaultMaxDenseRows,
  } = options;
  if (!fisherKinds.includes(fisher)) {
    const nearest = nearestName(fisher, fisherKinds);
    throw new ArgumentError(
      `kroneckerCurvature: unknown fisher "${fisher}".${nearest === undefined ? "" : ` Did you mean "${nearest}"?`} Known: ` +
        `${fisherKinds.join(", ")}.`,
    );
  }
  if (!Number.isInteger(draws) || draws < 1) {
    throw new ArgumentError(`kroneckerCurvature: ${draws} draws. Give an integer of at least 1.`);
  }
  if (examples !== undefined && (!Number.isInteger(examples) || examples < 1)) {
    throw new ArgumentError(
      `kroneckerCurvature: ${examples} examples. Give an integer of at least 1, or nothing for the whole batch.`,
    );
  }
  const { flavour = "auto", mask } = options;
  return {
    flavour,
    fisher,
    draws,
    measured: examples,
    mask,
    reduceNormalization,
    maxDenseRows,
    forwardOnly: fisher === "forward",
  };
}

function reportOf(
  blocks: readonly Block[],
  { fisher, measured }: Pick<CollectOptions<never>, "fisher" | "measured">,
): string {
  const part = measured === undefined ? "" : ` of the first ${measured} examples of a batch`;
  return [`fisher ${fisher}${part}`, ...blocks.map(describeBlock)].join("\n");
}

function describeBlock(block: Block): string {
  const remarks = block.remarks.length === 0 ? "" : ` (${block.remarks.join("; ")})`;
  switch (block.kind) {
    case "kronecker": {
      const { layout, bias, flavour, positions } = block;
      const ins = layout.ins + (bias === undefined ? 0 : 1);
      const groups = layout.groups === 1 ? "" : `${layout.groups} groups of `;
      const names = bias === undefined ? block.name : `${block.name} + ${bias.name}`;
      return `${names}: Kronecker, ${flavour}, ${groups}B ${layout.outs} ⊗ A ${ins}, R = ${positions}${remarks}`;
    }
    case "embedding":
      return `${block.name}: embedding, ${block.flavour}, B ${block.layout.outs} ⊗ A ${block.layout.ins}, R = ${block.positions}${remarks}`;
    case "unitwise":
      return `${block.scale.name} + ${block.shift.name}: 2 × 2 for each of ${sizeOf(block.scale.shape)} features${remarks}`;
    case "diagonal":
      return `${block.name}: diagonal of ${formatShape(block.parameter.shape)}${remarks}`;
  }
}
