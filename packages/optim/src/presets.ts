import { adabeliefRecord } from "./algorithms/adabelief";
import { adaboundRecord, amsboundRecord } from "./algorithms/adabound";
import { adadeltaRecord } from "./algorithms/adadelta";
import { adagradRecord } from "./algorithms/adagrad";
import { adamRecord, adamwRecord, amsgradRecord } from "./algorithms/adam";
import { adamaxRecord } from "./algorithms/adamax";
import { dAdaptAdamRecord } from "./algorithms/d-adaptation";
import { lambRecord } from "./algorithms/lamb";
import { lionRecord } from "./algorithms/lion";
import { momentumRecord } from "./algorithms/momentum";
import { muonRecord } from "./algorithms/muon";
import { nadamRecord, nadamwRecord } from "./algorithms/nadam";
import { nesterovRecord } from "./algorithms/nesterov";
import { prodigyRecord } from "./algorithms/prodigy";
import { radamRecord } from "./algorithms/radam";
import { rmspropRecord } from "./algorithms/rmsprop";
import { scheduleFreeAdamwRecord } from "./algorithms/schedule-free";
import { sgdRecord } from "./algorithms/sgd";
import { shampooRecord } from "./algorithms/shampoo";
import { lookaheadMomentumRecord, lookaheadRadamRecord, samAdamwRecord } from "./algorithms/wrapped";
import type { SearchSpace } from "./hyperparameter";
import type { OptimizerRecord } from "./optimizer-record";
import type { GradientTransformation } from "./transform";

/** An optimizer as a library or a study has it. */
export interface Preset<O extends object = Readonly<Record<string, unknown>>> {
  /** Makes the optimizer; options override those of the preset. */
  (options?: O): GradientTransformation;
  /** The name of the record. */
  readonly optimizer: string;
  /** The options that differ from the record's defaults. */
  readonly options: O;
  /** What is tuned, and how; other hyperparameters keep their values. */
  readonly tuning: Readonly<Record<string, SearchSpace>>;
}

/** A preset of a record. @param tuning Default: the search spaces of the record. */
function preset<O extends object>(
  record: OptimizerRecord<O>,
  options: O,
  tuning: Readonly<Record<string, SearchSpace>> = tuningOf(record.hyperparameters),
): Preset<O> {
  const make = (own?: O) => record.create({ ...options, ...own });
  return Object.assign(make, { optimizer: record.name, options, tuning });
}

function tuningOf(specs: OptimizerRecord["hyperparameters"]): Readonly<Record<string, SearchSpace>> {
  const tuned = Object.entries(specs).flatMap(([name, { tuning }]) => (tuning === undefined ? [] : [[name, tuning]]));
  return Object.fromEntries(tuned);
}

/** Libraries let decay everything that has a decay. */
const all = { decayMask: "all" } as const;

/** PyTorch 2.13. */
const torch = {
  sgd: preset(sgdRecord, { learningRate: 1e-3, ...all }),
  momentum: preset(momentumRecord, { learningRate: 1e-3, ...all }),
  nesterov: preset(nesterovRecord, { learningRate: 1e-3, ...all }),
  adagrad: preset(adagradRecord, all),
  adadelta: preset(adadeltaRecord, all),
  rmsprop: preset(rmspropRecord, all),
  adam: preset(adamRecord, all),
  adamw: preset(adamwRecord, all),
  amsgrad: preset(amsgradRecord, all),
  adamax: preset(adamaxRecord, all),
  nadam: preset(nadamRecord, all),
  radam: preset(radamRecord, all),
  muon: preset(muonRecord, { learningRate: 1e-3, weightDecay: 0.1, outputAxis: "first", ...all }),
} as const;

/** Optax 0.2.8. */
const optax = {
  adagrad: preset(adagradRecord, { initialAccumulator: 0.1, epsilon: 1e-7, epsilonInRoot: true, ...all }),
  rmsprop: preset(rmspropRecord, { decay: 0.9, epsilonInRoot: true, ...all }),
  adamw: preset(adamwRecord, { weightDecay: 1e-4, ...all }),
  amsgrad: preset(amsgradRecord, { maximum: "corrected", ...all }),
  nadam: preset(nadamRecord, { form: "next", ...all }),
  radam: preset(radamRecord, { epsilonPlacement: "corrected", ...all }),
  lion: preset(lionRecord, { weightDecay: 1e-3, ...all }),
  lamb: preset(lambRecord, { weightDecay: 0, ...all }),
  prodigy: preset(prodigyRecord, { biasCorrection: true, ...all }),
  dAdaptAdam: preset(dAdaptAdamRecord, { biasCorrection: true, ...all }),
} as const;

/** TensorFlow 1, in which DeepOBS and Crowded Valley ran. */
const tensorflow1 = {
  sgd: preset(sgdRecord, all),
  momentum: preset(momentumRecord, all),
  nesterov: preset(nesterovRecord, all),
  adagrad: preset(adagradRecord, { initialAccumulator: 0.1, epsilon: 0, ...all }),
  adadelta: preset(adadeltaRecord, { learningRate: 1e-3, decay: 0.95, epsilon: 1e-8, ...all }),
  rmsprop: preset(rmspropRecord, {
    learningRate: 1e-3,
    decay: 0.9,
    epsilon: 1e-10,
    epsilonInRoot: true,
    initialAccumulator: 1,
    ...all,
  }),
  adam: preset(adamRecord, { epsilonHat: true, ...all }),
  amsgrad: preset(amsgradRecord, { epsilonHat: true, ...all }),
} as const;

/**
 * The fifteen optimizers of "Descending through a Crowded Valley" under their names in its files, with its defaults.
 *
 * The momentum of its Lookahead runs on the MNIST VAE lies where the momentum itself, and not 1 - momentum, is drawn
 * log-uniformly; the space here is the paper's.
 *
 * @see Schmidt, Schneider & Hennig, Descending through a Crowded Valley, 2021
 */
const crowdedValley = {
  GradientDescentOptimizer: tensorflow1.sgd,
  MomentumOptimizer: preset(momentumRecord, { momentum: 0.99, ...all }),
  NAGOptimizer: preset(nesterovRecord, { momentum: 0.99, ...all }),
  AdagradOptimizer: tensorflow1.adagrad,
  AdadeltaOptimizer: tensorflow1.adadelta,
  RMSPropOptimizer: tensorflow1.rmsprop,
  AdamOptimizer: tensorflow1.adam,
  AMSGrad: preset(amsgradRecord, { learningRate: 1e-2, epsilonHat: true, ...all }),
  AdaBoundOptimizer: preset(adaboundRecord, all),
  AMSBoundOptimizer: preset(amsboundRecord, all),
  NadamOptimizer: preset(nadamRecord, { learningRate: 1e-3, epsilon: 1e-7, ...all }),
  RAdamOptimizer: preset(radamRecord, { epsilon: 1e-7, ...all }),
  AdaBeliefOptimizer: preset(adabeliefRecord, { epsilon: 1e-14, epsilonInside: 1e-14, ...all }),
  LookaheadOptimizerMBGDMomentum: preset(lookaheadMomentumRecord, { momentum: 0.99, ...all }),
  LookaheadOptimizerRAdam: preset(lookaheadRadamRecord, { epsilon: 1e-7, ...all }),
} as const;

const log = (low: number, high: number): SearchSpace => ({ distribution: "logUniform", low, high });
const complement = (low: number, high: number): SearchSpace => ({ ...log(low, high), complement: true });

/** AlgoPerf's target-setting baselines, with the spaces in which they were tuned, and the winner of its self-tuning track. */
const algoperf = {
  adamw: preset(
    adamwRecord,
    { ...all },
    { learningRate: log(1e-4, 1e-2), beta1: complement(0.02, 0.5), weightDecay: log(5e-3, 1) },
  ),
  nadamw: preset(
    nadamwRecord,
    { learningRate: 1.75e-3, beta1: 1 - 0.0673, beta2: 0.9955, weightDecay: 0.0812, ...all },
    { learningRate: log(1e-4, 1e-2), beta1: complement(4e-3, 0.1), weightDecay: log(5e-3, 1) },
  ),
  momentum: preset(
    momentumRecord,
    { ...all },
    { learningRate: log(0.02, 5), momentum: complement(5e-3, 0.3), weightDecay: log(1e-7, 5e-5) },
  ),
  nesterov: preset(
    nesterovRecord,
    { ...all },
    { learningRate: log(0.02, 5), momentum: complement(5e-3, 0.3), weightDecay: log(1e-7, 5e-5) },
  ),
  lamb: preset(
    lambRecord,
    { ...all },
    { learningRate: log(1e-4, 1e-2), beta1: complement(0.05, 0.3), weightDecay: log(1e-3, 1) },
  ),
  sam: preset(
    samAdamwRecord,
    { ...all },
    {
      learningRate: log(1e-4, 1e-2),
      beta1: complement(0.05, 0.43),
      weightDecay: log(0.01, 0.2),
      rho: { distribution: "uniform", low: 0.01, high: 0.05 },
    },
  ),
  shampoo: preset(
    shampooRecord,
    { nadam: true, frequency: 100, stagger: 1, blockSize: 1024, ...all },
    { learningRate: log(1e-4, 1e-2), beta1: complement(0.02, 0.5), weightDecay: log(5e-3, 1) },
  ),
  scheduleFreeAdamw: preset(scheduleFreeAdamwRecord, {
    beta2: 0.9955,
    weightDecay: 0.081,
    weightPower: 0.75,
    ...all,
  }),
} as const;

/**
 * Optimizers with the options of other libraries and of published runs. Each lists exactly the options that differ.
 *
 * @example presets.tensorflow1.rmsprop({ learningRate: 0.01 })
 */
export const presets = { torch, optax, tensorflow1, crowdedValley, algoperf } as const;
