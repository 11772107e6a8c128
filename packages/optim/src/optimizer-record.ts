import { completeValues, type HyperparameterSpecs, type OptionsOf, type ValuesOf } from "./hyperparameter";
import type { GradientTransformation } from "./transform";

/** All about one published method. */
export interface OptimizerRecord<O extends object = Readonly<Record<string, unknown>>> {
  /** The name in code and on command lines. */
  readonly name: string;
  readonly title: string;
  /** Authors and title of the paper. */
  readonly source: string;
  readonly year: number;
  readonly hyperparameters: HyperparameterSpecs;
  /** Numbers of f32 kept per parameter. @throws ArgumentError like `create`. */
  buffers(options?: O): number;
  /**
   * Makes the optimizer; what is not given has its default.
   *
   * @throws ArgumentError for an unknown name, with the nearest one, and for a value outside of its range.
   */
  create(options?: O): GradientTransformation;
}

interface Definition<H extends HyperparameterSpecs> extends Omit<OptimizerRecord, "buffers" | "create"> {
  readonly hyperparameters: H;
  readonly buffers: (values: ValuesOf<H>) => number;
  readonly create: (values: ValuesOf<H>) => GradientTransformation;
}

/** Makes the record of a method from a function of complete and checked values. */
export function defineOptimizer<const H extends HyperparameterSpecs>(
  definition: Definition<H>,
): OptimizerRecord<OptionsOf<H>> {
  const { name, hyperparameters, buffers, create } = definition;
  const complete = (options: OptionsOf<H> = {}) => completeValues(name, hyperparameters, options);
  return {
    ...definition,
    buffers: (options) => buffers(complete(options)),
    create: (options) => create(complete(options)),
  };
}
