import type { HyperparameterSpecs } from "@thalweg/optim";

/** Values of hyperparameters by name. */
export type Options = Readonly<Record<string, number | boolean | string>>;

/** What the page knows of an optimizer; the worker reads it from the registry, so that the page need not load the engine. */
export interface OptimizerDescription {
  readonly name: string;
  readonly title: string;
  readonly source: string;
  readonly year: number;
  readonly family: string;
  readonly hyperparameters: HyperparameterSpecs;
}

/** An optimizer that runs, and the values of its hyperparameters that the visitor set; the others have their defaults. */
export interface Runner {
  readonly optimizer: string;
  readonly options: Options;
}
