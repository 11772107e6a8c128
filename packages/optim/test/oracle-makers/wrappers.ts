import * as optim from "../../src/index";
import type { Maker, OracleOptions } from "./options";

/** The options of a case around another optimizer. */
interface WrapperOptions extends OracleOptions {
  readonly inner: string;
  readonly innerOptions: OracleOptions;
}

type Numbers<N extends string> = OracleOptions & Readonly<Record<N, number>>;

/** The makers of wrappers. @param make Makes the optimizer inside. */
export function wrapperMakers(
  make: (name: string, options: OracleOptions) => optim.GradientTransformation,
): Readonly<Record<string, Maker>> {
  const inside = (options: OracleOptions) => {
    const { inner, innerOptions } = options as WrapperOptions;
    return make(inner, innerOptions);
  };
  return {
    lookahead(options) {
      const { k, alpha, reset = false } = options as Numbers<"k" | "alpha"> & { readonly reset?: boolean };
      return optim.lookahead(inside(options), { every: k, alpha, reset });
    },
    sam(options) {
      const { rho, eps, adaptive } = options as Numbers<"rho" | "eps"> & { readonly adaptive: boolean };
      return optim.sam(inside(options), { rho, epsilon: eps, adaptive });
    },
    mechanic(options) {
      const { weightDecay = 0, eps, sInit, numBetas } = options as Numbers<"eps" | "sInit" | "numBetas">;
      return optim.mechanic(inside(options), {
        decay: weightDecay,
        epsilon: eps,
        initialScale: sInit,
        learners: numBetas,
      });
    },
  };
}
