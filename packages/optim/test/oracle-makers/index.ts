import type { GradientTransformation } from "../../src/index";
import { entryOf } from "../oracle-data";
import { adaptiveMakers } from "./adaptive";
import { basicMakers } from "./basic";
import { nonDiagonalMakers } from "./non-diagonal";
import type { Maker, OracleOptions } from "./options";
import { rateFreeMakers } from "./rate-free";
import { signAndLayerwiseMakers } from "./sign-and-layerwise";
import { wrapperMakers } from "./wrappers";

export type { OracleOptions } from "./options";

/** The optimizer of an oracle file's case. @throws ArgumentError for a name that the tests do not know. */
export const makeOptimizer = (name: string, options: OracleOptions): GradientTransformation =>
  entryOf(makers, name)(options);

const makers: Readonly<Record<string, Maker>> = {
  ...basicMakers,
  ...adaptiveMakers,
  ...signAndLayerwiseMakers,
  ...nonDiagonalMakers,
  ...rateFreeMakers,
  ...wrapperMakers(makeOptimizer),
};
