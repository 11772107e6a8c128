import { completeValues, type HyperparameterSpecs, type OptionsOf, type ValuesOf } from "./hyperparameter";
import type { GradientTransformation, Need } from "./transform";

/** What a method mainly is: the page of the documents that it is on. */
export type OptimizerFamily =
  | "gradient"
  | "momentum"
  | "adaptive"
  | "sign"
  | "layerwise"
  | "nonDiagonal"
  | "averaging"
  | "rateFree";

/** All about one published method. */
export interface OptimizerRecord<O extends object = Readonly<Record<string, unknown>>> {
  /** The name in code and on command lines. */
  readonly name: string;
  readonly title: string;
  /** Authors and title of the paper. */
  readonly source: string;
  readonly year: number;
  readonly family: OptimizerFamily;
  /** 1: part of the first release; 2: of the second. */
  readonly tier: 1 | 2;
  readonly hyperparameters: HyperparameterSpecs;
  /** What a step costs beyond that of SGD, in a few words. */
  readonly cost: string;
  /** What need not be set by hand. */
  readonly without: readonly ("learningRate" | "schedule")[];
  /** State beside whole buffers, in a few words; absent without any. */
  readonly factors?: string;
  /** Numbers of f32 kept per parameter, without the {@link factors}. @throws ArgumentError like `create`. */
  buffers(options?: O): number;
  /** What the training loop has to give besides gradients. @throws ArgumentError like `create`. */
  needs(options?: O): readonly Need[];
  /**
   * Makes the optimizer; what is not given has its default.
   *
   * @throws ArgumentError for an unknown name, with the nearest one, and for a value outside of its range.
   */
  create(options?: O): GradientTransformation;
}

interface Definition<H extends HyperparameterSpecs>
  extends Omit<OptimizerRecord, "buffers" | "needs" | "without" | "create"> {
  /** Default: nothing. */
  readonly without?: OptimizerRecord["without"];
  readonly hyperparameters: H;
  readonly buffers: (values: ValuesOf<H>) => number;
  readonly create: (values: ValuesOf<H>) => GradientTransformation;
}

/** Makes the record of a method from a function of complete and checked values. */
export function defineOptimizer<const H extends HyperparameterSpecs>(
  definition: Definition<H>,
): OptimizerRecord<OptionsOf<H>> & { readonly hyperparameters: H } {
  const { name, hyperparameters, buffers, create } = definition;
  const complete = (options: OptionsOf<H> = {}) => completeValues(name, hyperparameters, options);
  return {
    ...definition,
    without: definition.without ?? [],
    needs: (options) => create(complete(options)).rule.needs,
    buffers: (options) => buffers(complete(options)),
    create: (options) => create(complete(options)),
  };
}
