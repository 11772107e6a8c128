import { full, iota, linalg, type Tensor, treeFlatten, treeLeaves, treeUnflatten } from "@thalweg/tensor";
import { named } from "../chain";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { biasCorrection, updateAverage } from "../transforms/average";
import { type DecayMask, decaysOf } from "../transforms/decay";
import { awayFromZero } from "../transforms/moments";
import { gram, multiplyAxis, stacksOf } from "../transforms/stacks";
import { epsilon, learningRate, momentumSpace, off, on, retained, steps, weightDecay } from "./specs";

export interface SoapScalingOptions {
  /** Retained fraction of the first moment, in [0, 1). */
  readonly beta1: number | Schedule;
  /** Retained fraction of the second moment in the rotated space, in [0, 1). */
  readonly beta2: number | Schedule;
  /** Retained fraction of the factors, in [0, 1). Default: beta2. */
  readonly factorBeta?: number | Schedule | undefined;
  readonly epsilon: number | Schedule;
  /** Steps between two refreshes of the bases. Default 10. */
  readonly frequency?: number;
  /** Axes that are longer than this are not rotated. Default 10000. */
  readonly maxDim?: number;
  /** Rotates vectors, too. Default false. */
  readonly vectors?: boolean;
  /** Scales each tensor's update to a root mean square of 1. Default false. */
  readonly normalize?: boolean;
  /** Corrects the moments for their start at 0. Default true. */
  readonly biasCorrection?: boolean;
}

/** Factors and eigenbases of a stack of tensors, one `[count, n, n]` for each axis, and their second moment. */
type Rotation = {
  readonly factors: readonly (Tensor | null)[];
  readonly bases: readonly (Tensor | null)[];
  readonly secondMoment: Tensor;
};

/** A type, so that it counts as a tree. */
type SoapBuffers = { readonly firstMoment: TensorTree; readonly rotations: readonly Rotation[] };

/**
 * Adam in the eigenbasis of Shampoo's factors: the gradient's axes are rotated by the eigenvectors of what its Gram matrices
 * average to, the second moment is kept there, and the update is rotated back. The first call only makes the bases and
 * updates nothing. Tensors of one shape are computed together.
 *
 * @see Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024
 */
export function scaleBySoap(options: SoapScalingOptions): GradientTransformation {
  const owner = "scaleBySoap";
  const { beta1, beta2, factorBeta = beta2, epsilon, frequency = 10, maxDim = 10000, vectors = false } = options;
  const { normalize = false, biasCorrection: corrects = true } = options;
  checkSteps(`${owner}: frequency`, frequency, 1);
  checkSteps(`${owner}: maxDim`, maxDim, 1);
  const rotates = (shape: readonly number[], axis: number): boolean =>
    (vectors || shape.length > 1) && (shape[axis] as number) <= maxDim;
  return transformation<SoapBuffers>({
    name: owner,
    constants: [
      decayConstant(owner, "beta1", beta1),
      decayConstant(owner, "beta2", beta2),
      decayConstant(owner, "factorBeta", factorBeta),
      constant(owner, "epsilon", epsilon, nonNegative),
    ],
    init: (params) => ({
      firstMoment: treeZeros(params),
      rotations: stacksOf(treeLeaves<Tensor>(params).map(({ shape }) => shape)).groups.map(
        ({ shape, members }): Rotation => {
          const square = (fill: (n: number) => Tensor) =>
            shape.map((n, axis) => (rotates(shape, axis) ? fill(n).expand([members.length, n, n]) : null));
          return {
            factors: square((n) => full([n, n], 0)),
            bases: square((n) =>
              iota([n, n], 0)
                .equal(iota([n, n], 1))
                .cast("f32"),
            ),
            secondMoment: full([members.length, ...shape], 0),
          };
        },
      ),
    }),
    refreshesAt: (step) => (step === 0 ? "start" : step % frequency === 0),
    update(gradients, buffers, { params, step, constant: numbers, extra }) {
      const [first, second, third] = [numbers("beta1"), numbers("beta2"), numbers("factorBeta")];
      const [eps] = numbers("epsilon") as [Tensor];
      const stacks = stacksOf(treeLeaves<Tensor>(params).map(({ shape }) => shape));
      const isFirst = step.equal(0);
      // The call that makes the bases does not count.
      const index = step.maximum(1).sub(1);
      const unbias1 = corrects ? biasCorrection(first, index).reciprocal() : undefined;
      const unbias2 = corrects ? biasCorrection(second, index).reciprocal() : undefined;
      const averaged = updateAverage(first, buffers.firstMoment, gradients);
      const firstMoment = mapTensors((m, old) => isFirst.where(old, m), averaged, buffers.firstMoment);
      const moments = stacks.stacked(treeLeaves<Tensor>(firstMoment));
      const results = stacks.stacked(treeLeaves<Tensor>(gradients)).map((g, group) => {
        const { factors, bases, secondMoment } = buffers.rotations[group] as Rotation;
        const rotated = square(rotate(g, bases));
        const moved = isFirst.where(
          secondMoment,
          secondMoment.mul(second[0] as Tensor).add(rotated.mul(second[1] as Tensor)),
        );
        const scaled = rotate(moments[group] as Tensor, bases).div(awayFromZero(moved.sqrt().add(eps)));
        const direction = unitRms(rotateBack(scaled, bases), normalize);
        const update = unbias1 && unbias2 ? direction.mul(unbias1.div(unbias2.sqrt())) : direction;
        const nextFactors = factors.map((factor, axis) =>
          factor === null ? null : factor.mul(third[0] as Tensor).add(gram(g, axis).mul(third[1] as Tensor)),
        );
        const next =
          extra.refresh === false
            ? { bases, secondMoment: moved }
            : refreshedBases(nextFactors, bases, moved, { step, frequency, begins: extra.refresh !== true });
        return [isFirst.where(0, update), { factors: nextFactors, ...next }] as const;
      });
      const { structure } = treeFlatten<Tensor>(gradients);
      const updates = stacks.unstacked(results.map(([update]) => update));
      return [
        treeUnflatten(structure, updates) as TensorTree,
        { firstMoment, rotations: results.map(([, rotation]) => rotation) },
      ];
    },
  });
}

const square = (x: Tensor): Tensor => x.square();

const rotate = (stacked: Tensor, bases: readonly (Tensor | null)[]): Tensor =>
  bases.reduce<Tensor>((own, q, axis) => (q === null ? own : multiplyAxis(own, axis, q.transpose())), stacked);

const rotateBack = (stacked: Tensor, bases: readonly (Tensor | null)[]): Tensor =>
  bases.reduce<Tensor>((own, q, axis) => (q === null ? own : multiplyAxis(own, axis, q)), stacked);

/** Every member of a stack scaled to a root mean square of 1. */
function unitRms(stacked: Tensor, scales: boolean): Tensor {
  if (!scales) return stacked;
  const axes = stacked.shape.slice(1).map((_, axis) => axis + 1);
  const squares = stacked.square();
  return stacked.div((axes.length === 0 ? squares : squares.mean({ axis: axes, keepDims: true })).sqrt().add(1e-30));
}

interface BasisTurn {
  readonly step: Tensor;
  readonly frequency: number;
  /** Whether this may be the first call. */
  readonly begins: boolean;
}

/**
 * The bases for the next steps: eigenvectors at first, later one step of orthogonal iteration, after the columns were sorted
 * by what they find, and the second moment with them.
 */
function refreshedBases(
  factors: readonly (Tensor | null)[],
  bases: readonly (Tensor | null)[],
  secondMoment: Tensor,
  { step, frequency, begins }: BasisTurn,
): Pick<Rotation, "bases" | "secondMoment"> {
  const isFirst = step.equal(0);
  const isDue = step.greater(0).and(step.rem(frequency).equal(0));
  let moved = secondMoment;
  const next = bases.map((basis, axis) => {
    const factor = factors[axis];
    if (basis === null || factor === null || factor === undefined) return null;
    const n = basis.shape.at(-1) as number;
    const found = factor.matmul(basis).mul(basis).sum({ axis: -2 });
    const order = found.argsort({ axis: -1, descending: true });
    // Column k of the permutation has its 1 in row order[k].
    const permutation = iota([n, n], 0).equal(order.cast("i32").expandDims(-2)).cast("f32");
    const sorted = basis.matmul(permutation);
    moved = multiplyAxis(moved, axis, permutation.transpose());
    const iterated = orthonormal(factor, sorted);
    const kept = isDue.where(iterated, basis);
    return begins ? isFirst.where(linalg.eigh(factor).vectors, kept) : kept;
  });
  return { bases: next, secondMoment: isDue.where(moved, secondMoment) };
}

/**
 * The Q of the QR decomposition of L Q₀. Where L Q₀ has too low a rank in f32, as with inputs that were always 0, its Q is
 * not orthonormal: a lost direction would never come back, since L times 0 is 0. There L has a ridge, which keeps its
 * eigenvectors, and the directions of Q₀ where L has none.
 */
function orthonormal(factor: Tensor, basis: Tensor): Tensor {
  const n = basis.shape.at(-1) as number;
  const identity = iota([n, n], 0).equal(iota([n, n], 1));
  const product = factor.matmul(basis);
  const { q } = linalg.qr(product);
  const defect = q
    .transpose()
    .matmul(q)
    .sub(identity.cast("f32"))
    .abs()
    .max({ axis: [-2, -1], keepDims: true });
  // At least the largest eigenvalue, so that the condition is at most 2^16.
  const trace = identity.where(factor, 0).sum({ axis: [-2, -1], keepDims: true });
  const scale = trace.greater(0).where(trace, 1);
  const ridged = linalg.qr(product.div(scale).add(basis.mul(2 ** -16)));
  return defect.less(largestDefect).where(q, ridged.q);
}

/** A decomposition that went well has n · 2^-22. */
const largestDefect = 1e-3;

interface SoapRateOptions {
  readonly learningRate: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decayMask: DecayMask;
}

/** The learning rate, and decay of the point reached: x ← (x - α u)(1 - α λ). The first call changes nothing. */
function scaleAndDecay({ learningRate: rate, weightDecay: decay, decayMask }: SoapRateOptions): GradientTransformation {
  const owner = "soap";
  const decays = decay !== 0;
  return transformation({
    name: owner,
    constants: [
      constant(owner, "learningRate", rate, nonNegative),
      ...(decays ? [constant(owner, "weightDecay", decay, nonNegative)] : []),
    ],
    update: (directions, buffers, { params, step, constant: numbers }) => {
      const [alpha] = numbers("learningRate") as [Tensor];
      const [lambda] = decays ? numbers("weightDecay") : [];
      const share = lambda && step.equal(0).where(0, lambda.mul(alpha));
      const mask = decaysOf(decayMask, params);
      let index = 0;
      const move = (u: Tensor, x: Tensor) => {
        const step = u.mul(alpha);
        return share !== undefined && mask[index++] ? step.add(x.sub(step).mul(share)).neg() : step.neg();
      };
      return [mapTensors(move, directions, params), buffers];
    },
  });
}

const { decoupled: _, ...decayOptions } = weightDecay(1e-2, true);

/** The record of {@link soap}. */
export const soapRecord = defineOptimizer({
  name: "soap",
  title: "SOAP",
  source: "Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam",
  year: 2024,
  family: "nonDiagonal",
  tier: 1,
  cost: "four matrix products per axis, and a QR decomposition once per interval",
  factors: "two matrices for each axis",
  hyperparameters: {
    learningRate: learningRate(3e-3),
    beta1: retained(0.95, "retained fraction of the first moment", momentumSpace),
    beta2: retained(0.95, "retained fraction of the second moment", momentumSpace),
    factorBeta: {
      type: "float",
      default: 0,
      min: 0,
      max: 1,
      open: "max",
      schedulable: true,
      description: "retained fraction of the factors; 0 stands for beta2",
    },
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    frequency: steps(10, 1, "steps between two refreshes of the bases"),
    maxDim: steps(10000, 1, "axes that are longer are not rotated"),
    vectors: off("rotate vectors, too"),
    normalize: off("scale each tensor's update to a root mean square of 1"),
    biasCorrection: on("correct the moments for their start at 0"),
    ...decayOptions,
  },
  buffers: () => 2,
  create: ({ factorBeta, ...values }) =>
    named(
      "soap",
      scaleBySoap({ ...values, factorBeta: factorBeta === 0 ? undefined : factorBeta }),
      scaleAndDecay(values),
    ),
});

/** SOAP: Adam in the eigenbasis of Shampoo. */
export const soap = soapRecord.create;
