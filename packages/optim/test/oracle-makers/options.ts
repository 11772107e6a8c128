import { cosine, type GradientTransformation, type ParameterInfo, type Schedule } from "../../src/index";

/** The options of a case under the names of the files. `null` is off or without limit. */
export interface OracleOptions {
  readonly lr?: number;
  readonly weightDecay?: number;
  readonly decoupled?: boolean;
  readonly noDecay?: readonly string[];
  readonly schedule?: { readonly name: "cosine"; readonly totalSteps: number };
  // Each maker knows the types of its own.
  readonly [option: string]: unknown;
}

/** Makes the optimizer of a case. */
export type Maker = (options: OracleOptions) => GradientTransformation;

/** Learning rate and decay, which most cases have, in our names. */
export function sharedOptions({ lr = 0, weightDecay = 0, decoupled, noDecay = [], schedule }: OracleOptions) {
  const { name, ...shape } = schedule ?? {};
  const learningRate: number | Schedule =
    name === undefined ? lr : cosine({ peak: lr, ...(shape as { totalSteps: number }) });
  return {
    learningRate,
    weightDecay,
    ...(decoupled !== undefined && { decoupled }),
    decayMask: ({ path }: ParameterInfo) => !noDecay.includes(String(path[0])),
  };
}
