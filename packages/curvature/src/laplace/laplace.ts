/**
 * Laplace approximations: a normal distribution over parameters around a maximum a posteriori, its evidence (the marginal
 * likelihood, which chooses hyperparameters without validation data), and predictions.
 */
import { linearize, vjp, vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  evaluate,
  eye,
  full,
  type Key,
  NonFiniteError,
  scalar,
  sizeOf,
  split,
  stack,
  type Tensor,
  type Tree,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
  UnsupportedError,
} from "@thalweg/tensor";
import { largest } from "../clipping";
import type { FisherKind } from "../kronecker/vectors";
import { type OutputLoss, squaredError } from "../output-loss";
import { type Batch, batchSize, type CurvatureProblem, exampleLosses, exampleOutputs } from "../problem";
import { type Head, headOf } from "./head";
import { countedTerms, ignoringTargets, type Marked, requireSeveralTerms } from "./ignored-targets";
import type { LaplaceDampingRule } from "./kronecker-precision";
import { type HeadCovariance, type Prior, total } from "./precision";
import { type JointTensors, type LaplaceStructure, sumsOf } from "./sums";
import {
  pick,
  restrict,
  type Uncertain,
  type UncertainParameters,
  type UncertainTensor,
  uncertainTensors,
} from "./uncertain";

export interface LaplaceOptions {
  /** Default `"kronecker"`. */
  readonly structure?: LaplaceStructure;
  /**
   * Which parameters are uncertain, in any structure; all others are fixed. Names of tensors, such as those of the last
   * layer, or for each name the positions of single elements ({@link largestVariances} finds them). Default: all.
   */
  readonly parameters?: UncertainParameters;
  /**
   * Whether weight and bias of a layer share a Kronecker block, and so the prior precision of the weight, or have one each.
   * Default `"separate"`.
   */
  readonly bias?: "joint" | "separate";
  /**
   * How δ meets the Kronecker factors of a weight: `"exactKronecker"` as it should, on their product, or `"sqrtBoth"`, √δ on
   * each: a damped variant, whose precision and log determinant are larger. Default `"exactKronecker"`.
   */
  readonly dampingRule?: LaplaceDampingRule;
  /** Which vectors stand for the Hessian of the loss. Default `"type2"`: exact, one vector for each output. */
  readonly fisher?: Exclude<FisherKind, "forward">;
  /** Random vectors per example, for `"mc"` and `"propagation"`. Default 1. */
  readonly draws?: number;
  /** For random vectors. */
  readonly key?: Key;
  /**
   * T, which multiplies log-likelihood and curvature: 2 counts every example twice. (Papers on cold posteriors call 1/T the
   * temperature.) Default 1.
   */
  readonly temperature?: number;
  /**
   * N, where the batches are a random part of all data: log-likelihood and curvature are those of the part times N over its
   * size. The evidence is biased then, see {@link Laplace.warnings}. Default: the examples of the batches.
   */
  readonly examples?: number;
  /** A target that is none: loss terms with it, such as padded tokens, have neither loss nor curvature. */
  readonly ignoreIndex?: number;
}

/** Positive hyperparameters by their logarithms. */
export type LaplaceHyperparameters = {
  /**
   * log δ, the prior N(0, 1/δ): a scalar, or a vector with one number for each parameter tensor in their order (fixed ones
   * too, whose number plays no part). Except for Kronecker structure also a vector with one number for every single
   * parameter.
   */
  readonly logPriorPrecision: Tensor;
  /** log σ, the noise of a regression with {@link squaredError}: scalar. Leave it out for all other losses. */
  readonly logNoise?: Tensor;
};

/** The evidence and its terms: scalars. */
export interface Evidence {
  /** log Z = logLikelihood - ½ (logDeterminantRatio + scatter). */
  readonly logEvidence: Tensor;
  /** log p(D | θ), times the temperature. */
  readonly logLikelihood: Tensor;
  /** log det (H + diag δ) - Σ log δ. */
  readonly logDeterminantRatio: Tensor;
  /** θᵀ diag(δ) θ over the uncertain parameters. */
  readonly scatter: Tensor;
}

export interface SampleOutputsOptions {
  /** Default 100. */
  readonly samples?: number;
  /**
   * `"linearized"`, the default: outputs of the model that is linear in the parameters, which is what the posterior is one
   * of. `"network"`: outputs of the model itself at the drawn parameters, which for wide posteriors are worse.
   */
  readonly model?: "linearized" | "network";
}

/** A posterior. Outputs of an example are one row: C, or where it has M loss terms M · C of them. */
export interface Laplace<P, X> {
  /** The mean: the parameters that it was fitted at. */
  readonly params: P;
  readonly loss: OutputLoss;
  /** The summed loss at the mean, and of how many numbers it speaks where targets are vectors: scalars. */
  readonly data: { readonly loss: Tensor; readonly numbers: Tensor };
  /** Names of the uncertain tensors. */
  readonly uncertain: readonly string[];
  /** Those that have one δ, that of the weight: positions in {@link uncertain}. */
  readonly joint: readonly JointTensors[];
  /** What is to be known before the evidence is believed; empty if nothing. */
  readonly warnings: readonly string[];
  /** What is kept, of which parameters, and in how many bytes. Nothing is computed. */
  describe(): string;
  /**
   * Computes the curvature, once: what follows reads it. Without it, it is computed with whatever asks for it.
   *
   * @throws NonFiniteError if data or parameters make loss or curvature NaN or infinite; UnsupportedError for a model whose
   *   outputs for one example change with the others of a batch.
   */
  realize(): Promise<void>;
  /** Lazy and differentiable in the hyperparameters: compile what calls it, take `grad` of it. */
  evidence(hyperparameters: LaplaceHyperparameters): Evidence;
  /** γ = Σ λ/(λ + δ), how many parameters the data determine: scalar. */
  effectiveParameters(hyperparameters: LaplaceHyperparameters): Tensor;
  /** How many of each uncertain tensor: `[tensors]`, whose sum is {@link effectiveParameters}. */
  effectiveParametersByTensor(hyperparameters: LaplaceHyperparameters): Tensor;
  /** ‖θ‖² of each uncertain tensor: `[tensors]`. */
  readonly squaredNorms: Tensor;
  /** The variance of each parameter, 0 for the fixed ones. */
  variances(hyperparameters: LaplaceHyperparameters): P;
  /**
   * About the condition number of the precision relative to the prior, scalar: above 1e5 the small eigenvalues of the
   * curvature are lost in the rounding of f32.
   */
  condition(hyperparameters: LaplaceHyperparameters): Tensor;
  /** Parameters drawn from the posterior. */
  sample(key: Key, hyperparameters: LaplaceHyperparameters): P;
  /** Outputs for parameters drawn from the posterior: `[samples, N, C]`. */
  sampleOutputs(key: Key, inputs: X, hyperparameters: LaplaceHyperparameters, options?: SampleOutputsOptions): Tensor;
  /**
   * The outputs of the linearised model: mean `[N, C]` and covariance `[N, C, C]` of each example. Noise is not in it.
   *
   * @throws UnsupportedError for more than 100 outputs of an example, unless the uncertain tensors are a last layer.
   */
  predict(inputs: X, hyperparameters: LaplaceHyperparameters): { readonly mean: Tensor; readonly covariance: Tensor };
  /** As {@link predict}, with the variances alone: `[N, C]`. For a last layer nothing larger is formed. */
  predictVariance(
    inputs: X,
    hyperparameters: LaplaceHyperparameters,
  ): { readonly mean: Tensor; readonly variance: Tensor };
  /** As {@link predict}, with the covariance between all examples: `[N, C, N, C]`. */
  predictJoint(
    inputs: X,
    hyperparameters: LaplaceHyperparameters,
  ): { readonly mean: Tensor; readonly covariance: Tensor };
}

/** What a posterior needs of the data: it adds up over batches. (A type, so that it counts as a tree.) */
export type LaplaceSums = {
  /** How many there are: scalar. */
  readonly examples: Tensor;
  /** Of all loss terms: scalar. */
  readonly loss: Tensor;
  readonly curvature: Tree<Tensor>;
};

/** A posterior in steps that can be compiled: sums of one batch after the other, and what they make. */
export interface LaplaceFit<P, X> {
  /** Names of the uncertain tensors. */
  readonly uncertain: readonly string[];
  /** Of one batch, at some parameters. @param key for random vectors. */
  sums(params: P, batch: Batch<X>, key?: Key): LaplaceSums;
  combine(parts: readonly LaplaceSums[]): LaplaceSums;
  /** The hyperparameters with the δ of its weight for every bias of a joint block, whose own number plays no part. */
  tie(hyperparameters: LaplaceHyperparameters): LaplaceHyperparameters;
  /** @throws UnsupportedError if an example has other outputs alone than in its batch. */
  check(params: P, batch: Batch<X>): Promise<void>;
  /** @param sums Of all batches, at the same parameters. */
  posterior(params: P, sums: LaplaceSums): Laplace<P, X>;
}

/** More outputs than this make Jacobians too large. */
const mostOutputs = 100;

/** Outputs of one example that differ by this part of the largest one in company are not its own. */
const companyTolerance = 1e-2;

/**
 * Fits the posterior at `params`, which should maximise the posterior: H is the Gauss-Newton matrix of the summed losses
 * there. Lazy: compile or evaluate what is made of it.
 *
 * The problem's `reduction` plays no part; losses are summed. Evidence is that of all data if `batches` hold all data.
 *
 * @throws ArgumentError for an unknown parameter, and options that do not fit.
 * @see MacKay, A practical Bayesian framework for backpropagation networks (1992)
 * @see Immer et al., Scalable marginal likelihood estimation for model selection in deep learning (2021)
 * @see Daxberger et al., Laplace redux: effortless Bayesian deep learning (2021)
 */
export function laplace<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batches: Batch<X> | readonly Batch<X>[],
  options: LaplaceOptions = {},
): Laplace<P, X> {
  const parts: readonly Batch<X>[] = "inputs" in batches ? [batches] : batches;
  const [first] = parts;
  if (first === undefined) throw new ArgumentError("laplace: no batch. Give at least one.");
  const seen = parts.reduce((sum, part) => sum + batchSize("laplace", part), 0);
  const { examples = seen, key } = options;
  if (!(examples >= seen)) {
    throw new ArgumentError(
      `laplace: ${examples} examples, but the batches hold ${seen}. Give the number of all data, or leave it out.`,
    );
  }
  const fit = laplaceFit(problem, params, first, options);
  const keys = key === undefined ? undefined : split(key, parts.length);
  const sums = parts.map((part, index) =>
    fit.sums(params, part, keys?.slice([index], [index + 1]).reshape(keys.shape.slice(1))),
  );
  const posterior = fit.posterior(params, fit.combine(sums));
  const warnings =
    examples === seen
      ? []
      : [
          `The curvature is that of ${seen} of ${examples} examples: its log determinant is too small on average, and the ` +
            "evidence too large. Compare evidences of the same examples only.",
        ];
  return {
    ...posterior,
    warnings: [...posterior.warnings, ...warnings],
    describe: () => [posterior.describe(), ...warnings].join("\n"),
    async realize() {
      await posterior.realize();
      await fit.check(params, first);
    },
  };
}

/**
 * As {@link laplace}, in steps: for data in many batches, and for programs that fit again and again.
 *
 * @param params and `batch` are looked at for their shapes.
 * @example
 * const fit = laplaceFit(problem, params, batches[0]);
 * const sums = compile(fit.sums);
 * const posterior = fit.posterior(params, batches.map((batch) => sums(params, batch)).reduce((a, b) => fit.combine([a, b])));
 */
export function laplaceFit<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: LaplaceOptions = {},
): LaplaceFit<P, X> {
  const { structure = "kronecker", bias = "separate", fisher = "type2", draws = 1, ignoreIndex } = options;
  const { temperature = 1, examples, dampingRule = "exactKronecker" } = options;
  if (!(temperature > 0)) throw new ArgumentError(`laplace: temperature ${temperature}. Give a positive number.`);
  const summed: CurvatureProblem<P, X> = { ...problem, reduction: "sum" };
  const tensors = uncertainTensors(params, options.parameters);
  if (structure === "kronecker" && tensors.some(({ elements }) => elements !== undefined)) {
    throw new ArgumentError(
      'laplace: single elements have no Kronecker products. Name whole tensors, or use "full" or "diagonal".',
    );
  }
  if (structure !== "kronecker" && dampingRule !== "exactKronecker") {
    throw new ArgumentError(
      `laplace: ${structure} structure has no factors for dampingRule ${dampingRule}. Leave it out.`,
    );
  }
  const names = tensors.map(({ name }) => name);
  const shapes = treeLeaves<Tensor>(params).map(({ shape }) => shape);
  const at = restrict(summed, params, tensors);
  const outputs = problem.model(params, batch.inputs);
  const perExample = problem.loss.target === "vector" ? sizeOf(outputs.shape.slice(1)) : 0;
  if (ignoreIndex !== undefined) requireSeveralTerms(outputs.shape);

  // With and without marks, one of which plays no part.
  const marked = (own: CurvatureProblem<Uncertain, X>) => ignoringTargets(own, ignoreIndex ?? -1);
  const kind = { structure, bias, fisher, draws, dampingRule };
  const collected =
    ignoreIndex === undefined
      ? sumsOf(at.problem, at.uncertain, batch, kind)
      : sumsOf(marked(at.problem).problem, at.uncertain, marked(at.problem).mark(batch), kind);
  const isCounted = ({ isCounted: own }: Marked<X>): Tensor => own;
  const placeOf = (position: number): number => (tensors[position] as UncertainTensor).index;
  const tie = (hyperparameters: LaplaceHyperparameters): LaplaceHyperparameters => {
    const { logPriorPrecision: log } = hyperparameters;
    if (log.rank === 0 || log.size !== shapes.length) return hyperparameters;
    const tied = collected.joint.reduce((all, { weight, bias: own }) => {
      const ofWeight = log.slice([placeOf(weight)], [placeOf(weight) + 1]).expand(log.shape);
      return log.iotaLike(0).equal(placeOf(own)).where(ofWeight, all);
    }, log);
    return { ...hyperparameters, logPriorPrecision: tied };
  };

  return {
    uncertain: names,
    sums(own, part, key) {
      const { problem: restricted, uncertain } = restrict(summed, own, tensors);
      const random = key === undefined ? {} : { key };
      const count = full([], batchSize("laplace", part));
      if (ignoreIndex === undefined) {
        return {
          examples: count,
          loss: exampleLosses(restricted, uncertain, part).sum(),
          curvature: (collected as ReturnType<typeof sumsOf<X>>).of(restricted, uncertain, part, random),
        };
      }
      const { problem: without, mark } = marked(restricted);
      const counted = countedTerms(part.targets, ignoreIndex);
      return {
        examples: count,
        loss: exampleLosses(without, uncertain, mark(part)).sum(),
        curvature: (collected as ReturnType<typeof sumsOf<Marked<X>>>).of(without, uncertain, mark(part), {
          ...random,
          mask: isCounted,
          counted,
        }),
      };
    },
    combine: (parts) => ({
      examples: total(parts.map((part) => part.examples)),
      loss: total(parts.map((part) => part.loss)),
      curvature: collected.combine(parts.map(({ curvature }) => curvature)),
    }),
    tie,
    check: (own, part) => requireIndependence(problem, own, part),
    posterior: posteriorOf,
  };

  function posteriorOf(own: P, sums: LaplaceSums): Laplace<P, X> {
    const { problem: restricted, uncertain, fill } = restrict(summed, own, tensors);
    const precision = collected.precision(sums.curvature);
    const leaves = names.map((name) => uncertain[name] as Tensor);
    const scale = examples === undefined ? scalar(temperature) : sums.examples.reciprocal().mul(examples * temperature);
    const numbers = sums.examples.mul(perExample);

    const logPrecisions = ({ logNoise }: LaplaceHyperparameters): Tensor => {
      if (logNoise === undefined) return scalar(0);
      if (problem.loss === squaredError) return logNoise.mul(-2);
      throw new ArgumentError(
        `laplace: logNoise goes with squaredError, the loss is ${problem.loss.name}. Leave it out.`,
      );
    };
    const priorOf = (hyperparameters: LaplaceHyperparameters): Prior => {
      const { logPriorPrecision } = tie(hyperparameters);
      const all = priorLeaves(logPriorPrecision, shapes, structure === "kronecker");
      const isForSingleOnes = logPriorPrecision.rank > 0 && logPriorPrecision.size !== shapes.length;
      const log = tensors.map(({ index, elements }) => {
        const leaf = all[index] as Tensor;
        return isForSingleOnes ? pick(leaf, elements) : leaf;
      });
      const logFactor = logPrecisions(hyperparameters).add(scale.log());
      return { log, delta: log.map((each) => each.exp()), logFactor, factor: logFactor.exp() };
    };
    const tree = (values: readonly Tensor[]): Uncertain =>
      Object.fromEntries(names.map((name, index) => [name, values[index] as Tensor]));
    const moved = (drawn: readonly Tensor[]): Uncertain =>
      tree(leaves.map((leaf, index) => leaf.add(drawn[index] as Tensor)));
    const effective = (hyperparameters: LaplaceHyperparameters): Tensor =>
      stack(precision.determined(priorOf(hyperparameters)).map((each) => each.sum()));

    /** Outputs `[N, C]`, with their covariances by what of them is wanted. */
    const predicted = <T>(
      inputs: X,
      prior: Prior,
      ofHead: (features: Tensor, place: (x: Tensor) => Tensor, covariance: HeadCovariance) => T,
      ofJacobian: (jacobian: readonly Tensor[], solved: readonly Tensor[], outputs: number) => T,
    ): { readonly mean: Tensor; readonly value: T } => {
      const example = treeMap((x: Tensor) => x.slice([0], [1]).reshape(x.shape.slice(1)), inputs) as X;
      const head = headOf(restricted, uncertain, example);
      const covariance = head && precision.head(head);
      if (head !== undefined && covariance !== undefined) {
        const { mean, features } = vmap((each: X) => {
          // What was found in the graph of one example is in that of each.
          const { outputs, inputs: features } = headOf(restricted, uncertain, each) as Head;
          return { mean: outputs.flatten(), features };
        })(inputs);
        const rows = features.shape[1] as number;
        const place = (x: Tensor): Tensor => head.place(x.reshape([rows, head.outs])).flatten();
        return { mean, value: ofHead(features, place, covariance) };
      }
      const { mean, jacobian } = vmap((each: X) => {
        const [result, pull] = vjp((now: Uncertain) => exampleOutputs(restricted, now, each).flatten(), uncertain);
        if (result.size > mostOutputs) {
          throw new UnsupportedError(
            `laplace: ${result.size} outputs of an example need Jacobians of that many rows, as the uncertain tensors are no ` +
              "last layer. Predict with sampleOutputs, or name the last layer's tensors in `parameters`.",
          );
        }
        const rowsOf = (vector: Tensor): Tensor[] => {
          const [back] = pull(vector);
          return names.map((name) => back[name] as Tensor);
        };
        return { mean: result, jacobian: vmap(rowsOf)(eye(result.size)) };
      })(inputs);
      const [count, size] = mean.shape as [number, number];
      const rows = jacobian.map((x) => x.reshape([count * size, ...x.shape.slice(2)]));
      return { mean, value: ofJacobian(rows, precision.solve(rows, prior), size) };
    };
    const matrices = (rows: readonly Tensor[]): Tensor[] => rows.map((x) => x.reshape([x.shape[0] as number, -1]));

    return {
      params: own,
      loss: problem.loss,
      data: { loss: sums.loss.mul(scale), numbers: numbers.mul(scale) },
      uncertain: names,
      joint: collected.joint,
      warnings: [],
      squaredNorms: stack(leaves.map((leaf) => leaf.square().sum())),
      describe() {
        const bytes = precision.tensors.reduce((sum, each) => sum + each.bytes, 0);
        const fixed = shapes.length - tensors.length;
        return [
          `Laplace posterior, ${structure}, over ${leaves.reduce((sum, leaf) => sum + leaf.size, 0)} parameters in ` +
            `${tensors.length} tensors; ${fixed === 0 ? "none is" : `${fixed} tensors are`} fixed; keeps ${bytes} bytes`,
          ...collected.describe(),
        ].join("\n");
      },
      async realize() {
        const finite = [
          sums.loss.isFinite(),
          precision.tensors.map((each) => each.isFinite().all()).reduce((all, each) => all.and(each)),
        ] as const;
        await evaluate([sums.loss, sums.examples, ...precision.tensors, ...finite]);
        const [isLossFinite, isCurvatureFinite] = await Promise.all(finite.map((each) => each.item()));
        if (isLossFinite && isCurvatureFinite) return;
        throw new NonFiniteError(
          `laplace: the ${isLossFinite ? "curvature" : "loss"} is not finite. Look for NaN and infinities in inputs, targets ` +
            "and parameters.",
        );
      },
      evidence(hyperparameters) {
        const prior = priorOf(hyperparameters);
        const ratio = precision.logDeterminantRatio(prior);
        const scatter = total(
          leaves.map((leaf, index) =>
            leaf
              .square()
              .mul(prior.delta[index] as Tensor)
              .sum(),
          ),
        );
        const scaled = sums.loss.mul(prior.factor).neg();
        const { logNoise } = hyperparameters;
        const logLikelihood =
          logNoise === undefined
            ? scaled
            : scaled.sub(logNoise.add(0.5 * Math.log(2 * Math.PI)).mul(numbers.mul(scale)));
        return {
          logEvidence: logLikelihood.sub(ratio.add(scatter).mul(0.5)),
          logLikelihood,
          logDeterminantRatio: ratio,
          scatter,
        };
      },
      effectiveParameters: (hyperparameters) => effective(hyperparameters).sum(),
      effectiveParametersByTensor: effective,
      variances(hyperparameters) {
        const known = treeFlatten<Tensor>(own);
        const none = treeUnflatten(
          known.structure,
          known.leaves.map((leaf) => leaf.zerosLike()),
        ) as P;
        return restrict(summed, none, tensors).fill(tree(precision.variances(priorOf(hyperparameters))));
      },
      condition: (hyperparameters) => precision.condition(priorOf(hyperparameters)),
      sample: (key, hyperparameters) => fill(moved(precision.sample(key, priorOf(hyperparameters)))),
      sampleOutputs(key, inputs, hyperparameters, { samples = 100, model = "linearized" } = {}) {
        if (!Number.isInteger(samples) || samples < 1) {
          throw new ArgumentError(`sampleOutputs: ${samples} samples. Give an integer of at least 1.`);
        }
        const prior = priorOf(hyperparameters);
        const drawn = vmap((each: Key) => precision.sample(each, prior))(split(key, samples));
        const run = (now: Uncertain): Tensor => {
          const result = problem.model(fill(now), inputs);
          return result.reshape([result.shape[0] as number, -1]);
        };
        if (model === "network") return vmap((each: Tensor[]) => run(moved(each)))(drawn);
        const [outputs, tangent] = linearize(run, uncertain);
        return vmap((each: Tensor[]) => tangent(tree(each)))(drawn).add(outputs);
      },
      predict(inputs, hyperparameters) {
        const prior = priorOf(hyperparameters);
        const { mean, value } = predicted(
          inputs,
          prior,
          (features, place, head) => vmap((x: Tensor) => placeTwice(head.covariance(x, x, prior), place))(features),
          (jacobian, solved, size) => {
            const grouped = (x: Tensor) => x.reshape([-1, size, x.shape[1] as number]);
            const [left, right] = [matrices(jacobian).map(grouped), matrices(solved).map(grouped)];
            return total(left.map((x, index) => x.matmul((right[index] as Tensor).transpose())));
          },
        );
        return { mean, covariance: value };
      },
      predictVariance(inputs, hyperparameters) {
        const prior = priorOf(hyperparameters);
        const { mean, value } = predicted(
          inputs,
          prior,
          (features, place, head) => {
            const [examples, rows, ins] = features.shape as [number, number, number];
            return vmap(place)(head.variance(features.reshape([examples * rows, ins]), prior).reshape([examples, -1]));
          },
          (jacobian, solved, size) => {
            const right = matrices(solved);
            return total(matrices(jacobian).map((x, index) => x.mul(right[index] as Tensor).sum({ axis: 1 }))).reshape([
              -1,
              size,
            ]);
          },
        );
        return { mean, variance: value };
      },
      predictJoint(inputs, hyperparameters) {
        const prior = priorOf(hyperparameters);
        const { mean, value } = predicted(
          inputs,
          prior,
          (features, place, head) => {
            const [examples, rows, ins] = features.shape as [number, number, number];
            const x = features.reshape([examples * rows, ins]);
            const all = (each: Tensor): Tensor => vmap(place)(each.reshape([examples, -1])).flatten();
            return placeTwice(head.covariance(x, x, prior), all);
          },
          (jacobian, solved) => {
            const right = matrices(solved);
            return total(matrices(jacobian).map((x, index) => x.matmul((right[index] as Tensor).transpose())));
          },
        );
        return { mean, covariance: value.reshape([...mean.shape, ...mean.shape]) };
      },
    };
  }
}

/** Both sides of a covariance `[n, out, n, out]`, from where a layer has its outputs to where the model has them. */
function placeTwice(covariance: Tensor, place: (x: Tensor) => Tensor): Tensor {
  const size = (covariance.shape[0] as number) * (covariance.shape[1] as number);
  const once = vmap(place)(covariance.reshape([size, size]));
  return vmap(place)(once.transpose());
}

async function requireIndependence<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  { inputs }: Batch<X>,
): Promise<void> {
  const together = problem.model(params, inputs).reshape([treeLeaves<Tensor>(inputs)[0]?.shape[0] as number, -1]);
  const alone = vmap((example: X) => exampleOutputs(problem, params, example).flatten())(inputs);
  // Infinite outputs, as of classes that are ruled out, are the same where they are equal.
  const difference = largest(together.equal(alone).where(0, together.sub(alone)).abs());
  const extent = together.isFinite().where(together, 0).abs().max();
  await evaluate([difference, extent]);
  const [found, most] = [await difference.item(), await extent.item()];
  if (found <= companyTolerance * most) return;
  throw new UnsupportedError(
    `laplace: the outputs of an example change by up to ${found} with the other examples of its batch. Give the model as it is ` +
      "evaluated: batch norm with running statistics, no dropout.",
  );
}

const elementsOf = (shapes: readonly (readonly number[])[]): number =>
  shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);

/** log δ for every parameter: a scalar each, or a tensor of its shape. */
export function priorLeaves(log: Tensor, shapes: readonly (readonly number[])[], onlyTensors = false): Tensor[] {
  if (log.rank === 0) return shapes.map(() => log);
  const at = (start: number, count: number) => log.slice([start], [start + count]);
  if (log.size === shapes.length) return shapes.map((_, index) => at(index, 1).reshape([]));
  const count = elementsOf(shapes);
  if (log.rank !== 1 || log.size !== count || onlyTensors) {
    const single = onlyTensors ? "" : `, or one of each of ${count} parameters`;
    throw new ArgumentError(
      `laplace: ${log.size} prior precisions. Give a scalar, one for each of ${shapes.length} parameter tensors${single}.`,
    );
  }
  let start = 0;
  return shapes.map((shape) => {
    start += sizeOf(shape);
    return at(start - sizeOf(shape), sizeOf(shape)).reshape([...shape]);
  });
}
