import {
  type Block,
  type BlockFactors,
  type DampingRule,
  dampingRules,
  type Eigenbasis,
  type Inverses,
  invertFactors,
  precondition,
} from "@thalweg/curvature";
import { ArgumentError, full, scalar, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative, positive } from "../constant";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type Extra, type GradientTransformation, transformation, unknownName } from "../transform";

export interface KfacOptions {
  /** How the parameters fall into blocks: `kroneckerCurvature(…).blocks`. */
  readonly blocks: readonly Block[];
  readonly learningRate: number | Schedule;
  /** λ, on the scale of the loss. Default 1e-3. */
  readonly damping?: number | Schedule;
  /**
   * How λ meets the factors; `"eigenvalueCorrected"` is EKFAC, which damps like `"exactKronecker"` and measures the
   * curvature along the pairs of eigenvectors at every refresh of the factors. Default `"heuristicPi"`.
   */
  readonly rule?: DampingRule | "eigenvalueCorrected";
  /** Steps between two measurements of the factors. Default 1. */
  readonly factorInterval?: number;
  /** Steps between two inversions; a multiple of `factorInterval`. Default 10. */
  readonly inverseInterval?: number;
  /** What averages of factors retain at each measurement; they are corrected for their start at zero. Default 0.95. */
  readonly decay?: number;
  /** Heavy ball on the preconditioned gradient. Default 0.9. */
  readonly momentum?: number | Schedule;
  /** Looks ahead along the velocity. Default false. */
  readonly nesterov?: boolean;
  /**
   * Largest ⟨u, g⟩ times the squared learning rate, twice a bound on the divergence between the model before and after a
   * step: longer steps are shortened. 0 is no limit. Default 1e-3.
   */
  readonly clip?: number | Schedule;
  /** Shrinks parameters. Default 0. */
  readonly weightDecay?: number | Schedule;
  /** Adds weight decay to gradient and λ, as a penalty in the loss would, and not to the update. Default false. */
  readonly coupled?: boolean;
  /** Gives every block the length of its gradient (`"gradient"`), as if only directions were preconditioned. Default `"none"`. */
  readonly graft?: "none" | "gradient";
}

type FactorTree = Readonly<Record<string, BlockFactors>>;

/** (A type, so that it counts as a tree.) */
type KfacBuffers = {
  /** Averages of factors that begin at zero, and how many measurements are in them: f32. */
  readonly factors: FactorTree;
  readonly measured: Tensor;
  readonly inverses: Inverses;
  /** Factors that multiply λ of each block, raised where an inversion failed. */
  readonly boosts: Readonly<Record<string, Tensor>>;
  /** Measurements and inversions that were not finite and were left out: u32. */
  readonly skipped: Tensor;
  readonly velocity: TensorTree;
};

/** How much λ of a block rises when its inverse is not finite. */
const boost = 10;

/** 1 if all elements are finite. */
const areFinite = (tree: unknown): Tensor =>
  treeLeaves<Tensor>(tree)
    .map((x) => x.isFinite().all())
    .reduce((one, other) => one.and(other));

const choose = (condition: Tensor, yes: unknown, no: unknown): TensorTree =>
  mapTensors((a, b) => condition.where(a, b), yes as TensorTree, no as TensorTree);

/**
 * K-FAC: multiplies gradients by the inverse of the Kronecker-factored curvature.
 *
 * `update` wants `extra.kronecker`, a function that gives factors of the batch; it is called in the steps that measure, so
 * that the others compile without it.
 *
 * @throws ArgumentError for intervals that do not fit, and values outside of their range.
 * @see Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature (2015)
 * @see George et al., Fast approximate natural gradient descent in a Kronecker-factored eigenbasis (2018), for EKFAC
 * @example
 * const curvature = kroneckerCurvature(problem, params, batch);
 * const optimizer = kfac({ blocks: curvature.blocks, learningRate: 0.1 });
 * const evaluation = curvature.evaluate(params, batch, { key });
 * const [updates, next] = optimizer.update(evaluation.gradients, state, params, { kronecker: () => evaluation });
 */
export function kfac(options: KfacOptions): GradientTransformation {
  const owner = "kfac";
  const {
    blocks,
    learningRate,
    damping = 1e-3,
    rule = "heuristicPi",
    factorInterval = 1,
    inverseInterval = Math.ceil(10 / factorInterval) * factorInterval,
    decay = 0.95,
    momentum = 0.9,
    nesterov = false,
    clip = 1e-3,
    weightDecay = 0,
    coupled = false,
    graft = "none",
  } = options;
  checkSteps(`${owner}: factorInterval`, factorInterval, 1);
  checkSteps(`${owner}: inverseInterval`, inverseInterval, 1);
  if (inverseInterval % factorInterval !== 0) {
    throw new ArgumentError(
      `${owner}: inverseInterval ${inverseInterval} is no multiple of factorInterval ${factorInterval}. Factors are ` +
        "inverted in steps that measure them.",
    );
  }
  const rules = [...dampingRules, "eigenvalueCorrected"];
  if (!rules.includes(rule)) throw unknownName(`damping rule of ${owner}`, rule, rules);
  const isCorrected = rule === "eigenvalueCorrected";
  const dampingRule = isCorrected ? "exactKronecker" : rule;
  const [isClipped, isDecayed] = [clip !== 0, weightDecay !== 0];

  const invert = (factors: FactorTree, lambdaOf: (name: string) => Tensor): Inverses =>
    Object.assign({}, ...blocks.map((block) => invertFactors([block], factors, lambdaOf(block.name), dampingRule)));

  return transformation<KfacBuffers>({
    name: owner,
    needs: ["kronecker"],
    constants: [
      constant(owner, "learningRate", learningRate, nonNegative),
      constant(owner, "damping", damping, positive),
      decayConstant(owner, "decay", decay),
      decayConstant(owner, "momentum", momentum),
      ...(isClipped ? [constant(owner, "clip", clip, nonNegative)] : []),
      ...(isDecayed ? [constant(owner, "weightDecay", weightDecay, nonNegative)] : []),
    ],
    init(params) {
      const factors = zeroFactors(blocks);
      const shapes = invert(factors, () => scalar(1));
      return {
        factors,
        measured: full([], 0),
        inverses: mapTensors((x) => full(x.shape, 0), shapes as TensorTree) as Inverses,
        boosts: Object.fromEntries(blocks.map(({ name }) => [name, full([], 1)])),
        skipped: tensor(Uint32Array.of(0), { shape: [] }),
        velocity: treeZeros(params),
      };
    },
    refreshesAt: (step) => (step % inverseInterval === 0 ? true : step % factorInterval === 0 ? "statistics" : false),
    update(gradients, before, { params, step, constant: numbers, extra }) {
      const [alpha] = numbers("learningRate") as [Tensor];
      const [lambda] = numbers("damping") as [Tensor];
      const [mu] = numbers("momentum") as [Tensor];
      const [eta] = isDecayed ? (numbers("weightDecay") as [Tensor]) : [undefined];
      const isPenalty = coupled && eta !== undefined;
      const g = isPenalty ? mapTensors((own, x) => own.add(x.mul(eta)), gradients, params) : gradients;
      const total = isPenalty ? lambda.add(eta) : lambda;
      const isDue = (interval: number) => step.rem(interval).equal(0);

      let { factors, measured, inverses, boosts, skipped } = before;
      const lambdaOf = (name: string): Tensor => total.mul(boosts[name] as Tensor);
      if (extra.refresh !== false) {
        const source = (extra.kronecker as NonNullable<Extra["kronecker"]>)();
        const [retained, added] = numbers("decay") as [Tensor, Tensor];
        const isUsable = areFinite(source.factors);
        const isMeasured = isDue(factorInterval).and(isUsable);
        const moved = mapTensors(
          (own, fresh) => own.mul(retained).add(fresh.mul(added)),
          before.factors as TensorTree,
          source.factors as TensorTree,
        );
        factors = choose(isMeasured, moved, before.factors) as FactorTree;
        measured = isMeasured.where(measured.add(1), measured);
        skipped = isDue(factorInterval).and(isUsable.not()).where(skipped.add(1), skipped);
        const weight = retained.pow(measured).neg().add(1);
        const average = mapTensors((x) => x.div(measured.greater(0).where(weight, 1)), factors as TensorTree);
        if (extra.refresh !== "statistics") {
          const fresh = invert(average as FactorTree, lambdaOf);
          for (const { name } of blocks) {
            const isInverse = areFinite(fresh[name]);
            const isReplaced = isDue(inverseInterval).and(measured.greater(0));
            const own = choose(isReplaced.and(isInverse), fresh[name], inverses[name]) as Inverses[string];
            const hasFailed = isReplaced.and(isInverse.not());
            inverses = { ...inverses, [name]: own };
            boosts = {
              ...boosts,
              [name]: hasFailed.where((boosts[name] as Tensor).mul(boost), boosts[name] as Tensor),
            };
            skipped = hasFailed.where(skipped.add(1), skipped);
          }
        }
        if (isCorrected) {
          const corrected = source.correct(inverses);
          const isNew = isDue(inverseInterval);
          inverses = Object.fromEntries(
            Object.entries(inverses).map(([name, basis]) => {
              if (!("values" in basis)) return [name, basis];
              const fresh = (corrected[name] as Eigenbasis).values;
              const averaged = isNew.where(fresh, basis.values.mul(retained).add(fresh.mul(added)));
              return [name, { ...basis, values: isMeasured.and(fresh.isFinite().all()).where(averaged, basis.values) }];
            }),
          );
        }
      }

      const solved = blocks.reduce((tree, block) => precondition([block], inverses, tree, lambdaOf(block.name)), g);
      const directed = graft === "gradient" ? mapTensors(withLengthOf, solved, g) : solved;
      const u = isClipped ? shortened(directed, g, alpha, (numbers("clip") as [Tensor])[0]) : directed;
      const velocity = mapTensors((v, own) => v.mul(mu).add(own), before.velocity, u);
      const moved = nesterov ? mapTensors((v, own) => own.add(v.mul(mu)), velocity, u) : velocity;
      const updateOf = (v: Tensor, x: Tensor): Tensor =>
        (eta === undefined || isPenalty ? v : v.add(x.mul(eta))).mul(alpha).neg();
      return [mapTensors(updateOf, moved, params), { factors, measured, inverses, boosts, skipped, velocity }];
    },
    quantities: ({ skipped }) => ({ skipped: skipped.cast("f32") }),
  });
}

/** `u` scaled to the length of `like`. */
function withLengthOf(u: Tensor, like: Tensor): Tensor {
  const [own, wanted] = [u, like].map((x) => x.square().sum().sqrt()) as [Tensor, Tensor];
  return u.mul(own.greater(0).where(wanted.div(own.greater(0).where(own, 1)), 0));
}

/** ν u with ν = min(1, √(κ / (α² |⟨u, g⟩|))). */
function shortened(u: TensorTree, g: TensorTree, alpha: Tensor, kappa: Tensor): TensorTree {
  const products = treeLeaves<Tensor>(mapTensors((a, b) => a.mul(b).sum(), u, g));
  const size = products
    .reduce((sum, own) => sum.add(own))
    .abs()
    .mul(alpha.square());
  const isLong = size.greater(kappa);
  const nu = isLong.where(kappa.div(isLong.where(size, 1)).sqrt(), 1);
  return mapTensors((own) => own.mul(nu), u);
}

function zeroFactors(blocks: readonly Block[]): FactorTree {
  const square = (groups: number, size: number) => full(groups === 1 ? [size, size] : [groups, size, size], 0);
  const ofBlock = (block: Block): BlockFactors => {
    switch (block.kind) {
      case "kronecker": {
        const { groups, outs, ins } = block.layout;
        return { a: square(groups, ins + (block.bias === undefined ? 0 : 1)), b: square(groups, outs) };
      }
      case "embedding": {
        const { outs, ins } = block.layout;
        return { a: block.isDense ? square(1, ins) : full([ins], 0), b: square(1, outs) };
      }
      case "unitwise": {
        const { shape } = block.scale;
        return { scale: full(shape, 0), cross: full(shape, 0), shift: full(shape, 0) };
      }
      case "diagonal":
        return { diagonal: full(block.parameter.shape, 0) };
    }
  };
  return Object.fromEntries(blocks.map((block) => [block.name, ofBlock(block)]));
}
