import { type Block, blockMatrix, fromBlockMatrix, type KroneckerBlock, type MatrixFactors } from "@thalweg/curvature";
import { ArgumentError, eye, type Tensor, treeFlatten, treeUnflatten } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative, positive } from "../constant";
import type { ValuesOf } from "../hyperparameter";
import { defineOptimizer } from "../optimizer-record";
import { checkSteps } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type Curvature, type GradientTransformation, transformation } from "../transform";
import { decaysOf } from "../transforms/decay";
import { type MatrixStructure, matrixStructure, singdStructures } from "../transforms/matrix-structure";
import { curvatureRequest, dampingSpec, measurement, requireBlocks } from "./kfac";
import { learningRate, momentumSpace, off, retained, steps, weightDecay } from "./specs";

/** K and C with A⁻¹ ≈ K Kᵀ and B⁻¹ ≈ C Cᵀ, and their momenta, as the structure keeps them. (A type, so that it counts as a tree.) */
type Root = { readonly k: Tensor; readonly c: Tensor; readonly kMomentum: Tensor; readonly cMomentum: Tensor };

type SingdBuffers = { readonly roots: Readonly<Record<string, Root>>; readonly velocity: TensorTree };

const grouped = (x: Tensor): Tensor => (x.rank === 3 ? x : x.expandDims(0));

/** Σ of the diagonal over n, per group: `[groups, 1, 1]`. */
const meanTrace = (x: Tensor, n: number): Tensor =>
  x
    .mul(eye(x.shape.at(-1) as number))
    .sum({ axis: [1, 2], keepDims: true })
    .div(n);

const layersOf = (blocks: readonly Block[]): readonly KroneckerBlock[] =>
  blocks.filter((block): block is KroneckerBlock => block.kind === "kronecker");

const hyperparameters = {
  learningRate: learningRate(1e-3),
  damping: dampingSpec(1e-3),
  momentum: retained(0.9, "retained fraction of heavy ball", momentumSpace),
  preconditionerRate: {
    type: "float",
    default: 0.01,
    schedulable: true,
    description: "step size of the preconditioner",
    ...positive,
  },
  preconditionerMomentum: retained(
    0.5,
    "retained fraction of the preconditioner's momentum; likeKfac has none",
    momentumSpace,
  ),
  interval: steps(10, 1, "steps between two changes of the preconditioner"),
  structure: {
    type: "choice",
    default: "dense",
    choices: singdStructures,
    description: "what the roots of the inverses are kept to; dense is INGD",
  },
  blockSize: steps(30, 1, "rows of a block of blockDiagonal; twice those of a dense block of hierarchical"),
  likeKfac: off("leave out the other factor's trace, so that each factor follows its own inverse (IKFAC)"),
  normalized: off("average the preconditioner's momentum, and shorten its steps where it is larger than 1"),
  flavour: {
    type: "choice",
    default: "expand",
    choices: ["expand", "reduce", "auto"],
    description: "positions that share a weight count one by one, or are reduced to one for each example",
  },
  ...measurement,
  ...weightDecay(0, true),
} as const;

function structuredDescent(options: ValuesOf<typeof hyperparameters>): GradientTransformation {
  const owner = "singd";
  const { interval, structure, blockSize, likeKfac, normalized, decoupled, decayMask } = options;
  checkSteps(`${owner}: interval`, interval, 1);
  checkSteps(`${owner}: blockSize`, blockSize, 1);
  const isDecayed = options.weightDecay !== 0;
  const structureOf = (n: number): MatrixStructure =>
    matrixStructure(structure, structure === "hierarchical" ? Math.ceil(blockSize / 2) : blockSize, n);
  const sizes = ({ layout, bias }: KroneckerBlock) => ({ ...layout, ins: layout.ins + (bias === undefined ? 0 : 1) });
  return transformation<SingdBuffers>({
    name: owner,
    needs: ["kronecker"],
    curvature: curvatureRequest(options),
    constants: [
      constant(owner, "learningRate", options.learningRate, nonNegative),
      constant(owner, "damping", options.damping, positive),
      decayConstant(owner, "momentum", options.momentum),
      decayConstant(owner, "preconditionerMomentum", likeKfac ? 0 : options.preconditionerMomentum),
      constant(owner, "preconditionerRate", options.preconditionerRate, positive),
      ...(isDecayed ? [constant(owner, "weightDecay", options.weightDecay, nonNegative)] : []),
    ],
    init(params, model) {
      const layers = layersOf(requireBlocks(owner, model));
      if (layers.length === 0) {
        throw new ArgumentError(`${owner}: no parameter of the model is a layer's weight. Use another optimizer.`);
      }
      const roots = layers.map((block) => {
        const { groups, ins, outs } = sizes(block);
        const identity = (n: number) => structureOf(n).pack(eye(n).expand([groups, n, n]).add(0));
        const [k, c] = [identity(ins), identity(outs)];
        return [block.name, { k, c, kMomentum: k.zerosLike(), cMomentum: c.zerosLike() }];
      });
      return {
        roots: Object.fromEntries(roots),
        velocity: treeZeros(params),
      };
    },
    refreshesAt: (step) => step % interval === 0,
    update(gradients, before, { params, step, constant: numbers, extra }) {
      const number = (name: string) => (numbers(name) as [Tensor])[0];
      const curvature = extra.kronecker as Curvature;
      const layers = layersOf(curvature.blocks);
      let { roots } = before;
      if (extra.refresh !== false) {
        const isDue = step.rem(interval).equal(0);
        roots = Object.fromEntries(
          layers.map((block) => {
            const { name } = block;
            const own = before.roots[name] as Root;
            const moved = movedRoot(own, curvature.factors[name] as MatrixFactors, {
              lambda: number("damping"),
              alpha: numbers("preconditionerMomentum"),
              beta: number("preconditionerRate"),
              likeKfac,
              normalized,
              ofInputs: structureOf(sizes(block).ins),
              ofOutputs: structureOf(block.layout.outs),
            });
            // A batch that is not finite leaves the preconditioner as it is.
            const isUsable = isDue.and(moved.k.isFinite().all()).and(moved.c.isFinite().all());
            return [name, mapTensors((a, b) => isUsable.where(a, b), moved, own) as Root];
          }),
        );
      }
      const mask = isDecayed ? decaysOf(decayMask, params) : [];
      const decayed = (tree: TensorTree): TensorTree => {
        let index = 0;
        return isDecayed
          ? mapTensors((u, x) => (mask[index++] ? u.add(x.mul(number("weightDecay"))) : u), tree, params)
          : tree;
      };
      const { leaves, structure: shape } = treeFlatten<Tensor>(decoupled ? gradients : decayed(gradients));
      const solved = [...leaves];
      for (const block of layers) {
        const root = roots[block.name] as Root;
        const k = structureOf(sizes(block).ins).unpack(root.k);
        const c = structureOf(block.layout.outs).unpack(root.c);
        const gradient = blockMatrix(block, leaves);
        const turned = c.matmul(c.transpose().matmul(gradient)).matmul(k).matmul(k.transpose());
        fromBlockMatrix(block, turned, solved);
      }
      const [mu] = numbers("momentum") as [Tensor];
      const direction = treeUnflatten(shape, solved) as TensorTree;
      const whole = decoupled ? decayed(direction) : direction;
      const velocity = mapTensors((v, u) => v.mul(mu).add(u), before.velocity, whole);
      return [mapTensors((v) => v.mul(number("learningRate")).neg(), velocity), { roots, velocity }];
    },
  });
}

interface Motion {
  readonly lambda: Tensor;
  /** The numbers of a decay constant. */
  readonly alpha: readonly Tensor[];
  readonly beta: Tensor;
  readonly likeKfac: boolean;
  readonly normalized: boolean;
  readonly ofInputs: MatrixStructure;
  readonly ofOutputs: MatrixStructure;
}

function movedRoot({ k, c, kMomentum, cMomentum }: Root, factors: MatrixFactors, motion: Motion): Root {
  const { lambda, beta, likeKfac, normalized, ofInputs, ofOutputs } = motion;
  const [alpha, rest] = motion.alpha as [Tensor, Tensor];
  const [left, right] = [ofInputs.unpack(k), ofOutputs.unpack(c)];
  const around = (root: Tensor, factor: Tensor): Tensor => root.transpose().matmul(factor).matmul(root);
  const [hk, hc] = [around(left, grouped(factors.a)), around(right, grouped(factors.b))];
  const [gk, gc] = [left, right].map((root) => root.transpose().matmul(root)) as [Tensor, Tensor];
  const next = (
    structure: MatrixStructure,
    momentum: Tensor,
    own: Tensor,
    gram: Tensor,
    other: Tensor,
    otherGram: Tensor,
  ): Tensor => {
    const size = other.shape.at(-1) as number;
    const weights = likeKfac ? ([1, 1] as const) : ([meanTrace(other, size), meanTrace(otherGram, size)] as const);
    const change = own
      .mul(weights[0])
      .add(gram.mul(lambda).mul(weights[1]))
      .sub(eye(own.shape.at(-1) as number));
    const half = structure.project(change).mul(0.5);
    return momentum.mul(alpha).add(normalized ? half.mul(rest) : half);
  };
  const mk = next(ofInputs, kMomentum, hk, gk, hc, gc);
  const mc = next(ofOutputs, cMomentum, hc, gc, hk, gk);
  const moved = (structure: MatrixStructure, root: Tensor, momentum: Tensor): Tensor => {
    const rate = normalized ? beta.div(momentum.abs().max().maximum(1)) : beta;
    return structure.pack(root.sub(root.matmul(structure.unpack(momentum)).mul(rate)));
  };
  return { k: moved(ofInputs, left, mk), c: moved(ofOutputs, right, mc), kMomentum: mk, cMomentum: mc };
}

/** The record of {@link singd}. */
export const singdRecord = defineOptimizer({
  name: "singd",
  title: "SINGD",
  source: "Lin et al., Structured Inverse-Free Natural Gradient",
  year: 2024,
  family: "nonDiagonal",
  tier: 2,
  cost: "six products with matrices of a layer's sides, more at intervals; a second backward pass per interval",
  factors: "two structured matrices for each layer, and their momenta",
  hyperparameters,
  buffers: () => 1,
  create: structuredDescent,
});

/**
 * SINGD, structured inverse-free natural gradient descent; with dense matrices INGD. Roots of the inverse factors are kept
 * and multiplied by what moves them towards the inverses: no factor is ever inverted, which works in low precision.
 *
 * m_K ← α₁ m_K + ½ (tr(H_C)/d_B H_K + λ tr(CᵀC)/d_B KᵀK - I) with H_K = Kᵀ A K, H_C = Cᵀ B C, K ← K - β₁ K m_K, the same
 * for C, and u = C Cᵀ G K Kᵀ. Parameters outside of Kronecker blocks take plain gradients. `init` and `update` want
 * what {@link kfac} wants.
 *
 * @see Lin et al., Simplifying momentum-based positive-definite submanifold optimization (2023)
 * @see Lin et al., Structured inverse-free natural gradient (2024)
 */
export const singd = singdRecord.create;
