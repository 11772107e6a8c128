import {
  type Block,
  blockMatrix,
  type Factors,
  fromBlockMatrix,
  type KroneckerBlock,
  type MatrixFactors,
} from "@thalweg/curvature";
import { ArgumentError, eye, iota, type Tensor, treeFlatten, treeUnflatten } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative, positive } from "../constant";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

/** What matrices are kept to, after every change. */
export type SingdStructure = "dense" | "diagonal" | "blockDiagonal" | "lowerTriangular" | "upperTriangular";

export interface SingdOptions {
  /** How the parameters fall into blocks: `kroneckerCurvature(…).blocks`. */
  readonly blocks: readonly Block[];
  readonly learningRate: number | Schedule;
  /** λ. Default 1e-3. */
  readonly damping?: number | Schedule;
  /** Heavy ball on the preconditioned gradient. Default 0.9. */
  readonly momentum?: number | Schedule;
  /** Added to the update, after preconditioning. Default 0. */
  readonly weightDecay?: number | Schedule;
  /** Riemannian momentum α₁ of the preconditioner. Default 0.5; 0 for `likeKfac`. */
  readonly preconditionerMomentum?: number | Schedule;
  /** Step size β₁ of the preconditioner. Default 0.01. */
  readonly preconditionerRate?: number | Schedule;
  /** Steps between two changes of the preconditioner. Default 10. */
  readonly interval?: number;
  /** Leaves the other factor's trace out, so that each factor follows its own inverse (IKFAC). Default false. */
  readonly likeKfac?: boolean;
  /** Default `"dense"`, which is INGD. */
  readonly structure?: SingdStructure;
  /** Rows of a block of `"blockDiagonal"`. Default 30. */
  readonly blockSize?: number;
}

/** K and C with A⁻¹ ≈ K Kᵀ and B⁻¹ ≈ C Cᵀ, and their momenta: `[groups, n, n]`. (A type, so that it counts as a tree.) */
type Root = { readonly k: Tensor; readonly c: Tensor; readonly kMomentum: Tensor; readonly cMomentum: Tensor };

type SingdBuffers = { readonly roots: Readonly<Record<string, Root>>; readonly velocity: TensorTree };

const grouped = (x: Tensor): Tensor => (x.rank === 3 ? x : x.expandDims(0));

/** Σ of the diagonal over n, per group: `[groups, 1, 1]`. */
const meanTrace = (x: Tensor, n: number): Tensor =>
  x
    .mul(eye(x.shape.at(-1) as number))
    .sum({ axis: [1, 2], keepDims: true })
    .div(n);

/** Elements outside of the structure become 0. */
function keeper(structure: SingdStructure, blockSize: number): (x: Tensor) => Tensor {
  if (structure === "dense") return (x) => x;
  return (x) => {
    const [row, column] = [iota(x.shape, 1), iota(x.shape, 2)];
    switch (structure) {
      case "diagonal":
        return row.equal(column).where(x, 0);
      case "lowerTriangular":
        return row.greaterEqual(column).where(x, 0);
      case "upperTriangular":
        return row.lessEqual(column).where(x, 0);
      case "blockDiagonal": {
        const blockOf = (at: Tensor) => at.sub(at.rem(blockSize));
        return blockOf(row).equal(blockOf(column)).where(x, 0);
      }
    }
  };
}

/**
 * SINGD, structured inverse-free natural gradient descent; with dense matrices INGD. Roots of the inverse factors are kept
 * and multiplied by what moves them towards the inverses: no factor is ever inverted, which works in low precision.
 *
 * m_K ← α₁ m_K + ½ (tr(H_C)/d_B H_K + λ tr(CᵀC)/d_B KᵀK - I) with H_K = Kᵀ A K, H_C = Cᵀ B C, K ← K - β₁ K m_K, the same
 * for C, and u = C Cᵀ G K Kᵀ. Parameters outside of Kronecker blocks take plain gradients. `update` wants
 * `extra.kronecker`, as {@link kfac} does.
 *
 * @throws ArgumentError for values outside of their range, and for blocks with no Kronecker block.
 * @see Lin et al., Simplifying momentum-based positive-definite submanifold optimization (2023)
 * @see Lin et al., Structured inverse-free natural gradient (2024)
 */
export function singd(options: SingdOptions): GradientTransformation {
  const owner = "singd";
  const {
    blocks,
    learningRate,
    damping = 1e-3,
    momentum = 0.9,
    weightDecay = 0,
    likeKfac = false,
    preconditionerMomentum = likeKfac ? 0 : 0.5,
    preconditionerRate = 0.01,
    interval = 10,
    structure = "dense",
    blockSize = 30,
  } = options;
  checkSteps(`${owner}: interval`, interval, 1);
  checkSteps(`${owner}: blockSize`, blockSize, 1);
  const layers = blocks.filter((block): block is KroneckerBlock => block.kind === "kronecker");
  if (layers.length === 0) throw new ArgumentError(`${owner}: no block is a Kronecker block. Use another optimizer.`);
  const keep = keeper(structure, blockSize);
  return transformation<SingdBuffers>({
    name: owner,
    needs: ["kronecker"],
    constants: [
      constant(owner, "learningRate", learningRate, nonNegative),
      constant(owner, "damping", damping, positive),
      decayConstant(owner, "momentum", momentum),
      constant(owner, "weightDecay", weightDecay, nonNegative),
      decayConstant(owner, "preconditionerMomentum", preconditionerMomentum),
      constant(owner, "preconditionerRate", preconditionerRate, positive),
    ],
    init: (params) => ({
      roots: Object.fromEntries(
        layers.map(({ name, layout, bias }) => {
          const square = (size: number) => eye(size).expand([layout.groups, size, size]).add(0);
          const [k, c] = [square(layout.ins + (bias === undefined ? 0 : 1)), square(layout.outs)];
          return [name, { k, c, kMomentum: k.zerosLike(), cMomentum: c.zerosLike() }];
        }),
      ),
      velocity: treeZeros(params),
    }),
    refreshesAt: (step) => step % interval === 0,
    update(gradients, before, { params, step, constant: numbers, extra }) {
      const number = (name: string) => (numbers(name) as [Tensor])[0];
      let { roots } = before;
      if (extra.refresh !== false) {
        const { factors } = (extra.kronecker as () => { readonly factors: Factors })();
        const isDue = step.rem(interval).equal(0);
        roots = Object.fromEntries(
          layers.map(({ name }) => {
            const own = before.roots[name] as Root;
            const moved = movedRoot(own, factors[name] as MatrixFactors, {
              lambda: number("damping"),
              alpha: number("preconditionerMomentum"),
              beta: number("preconditionerRate"),
              likeKfac,
              keep,
            });
            // A batch that is not finite leaves the preconditioner as it is.
            const isUsable = isDue.and(moved.k.isFinite().all()).and(moved.c.isFinite().all());
            return [name, mapTensors((a, b) => isUsable.where(a, b), moved, own) as Root];
          }),
        );
      }
      const { leaves, structure: shape } = treeFlatten<Tensor>(gradients);
      const solved = [...leaves];
      for (const block of layers) {
        const { k, c } = roots[block.name] as Root;
        const gradient = blockMatrix(block, leaves);
        const turned = c.matmul(c.transpose().matmul(gradient)).matmul(k).matmul(k.transpose());
        fromBlockMatrix(block, turned, solved);
      }
      const [mu] = numbers("momentum") as [Tensor];
      const decayed = mapTensors(
        (u, x) => u.add(x.mul(number("weightDecay"))),
        treeUnflatten(shape, solved) as TensorTree,
        params,
      );
      const velocity = mapTensors((v, u) => v.mul(mu).add(u), before.velocity, decayed);
      return [mapTensors((v) => v.mul(number("learningRate")).neg(), velocity), { roots, velocity }];
    },
  });
}

interface Motion {
  readonly lambda: Tensor;
  readonly alpha: Tensor;
  readonly beta: Tensor;
  readonly likeKfac: boolean;
  readonly keep: (x: Tensor) => Tensor;
}

function movedRoot({ k, c, kMomentum, cMomentum }: Root, factors: MatrixFactors, motion: Motion): Root {
  const { lambda, alpha, beta, likeKfac, keep } = motion;
  const [hk, hc] = [
    [k, grouped(factors.a)],
    [c, grouped(factors.b)],
  ].map(([root, factor]) =>
    (root as Tensor)
      .transpose()
      .matmul(factor as Tensor)
      .matmul(root as Tensor),
  ) as [Tensor, Tensor];
  const [gk, gc] = [k, c].map((root) => root.transpose().matmul(root)) as [Tensor, Tensor];
  const next = (momentum: Tensor, own: Tensor, gram: Tensor, other: Tensor, otherGram: Tensor): Tensor => {
    const size = other.shape.at(-1) as number;
    const weights = likeKfac ? ([1, 1] as const) : ([meanTrace(other, size), meanTrace(otherGram, size)] as const);
    const change = own
      .mul(weights[0])
      .add(gram.mul(lambda).mul(weights[1]))
      .sub(eye(own.shape.at(-1) as number));
    return keep(momentum.mul(alpha).add(change.mul(0.5)));
  };
  const [mk, mc] = [next(kMomentum, hk, gk, hc, gc), next(cMomentum, hc, gc, hk, gk)];
  return {
    k: keep(k.sub(k.matmul(mk).mul(beta))),
    c: keep(c.sub(c.matmul(mc).mul(beta))),
    kMomentum: mk,
    cMomentum: mc,
  };
}
