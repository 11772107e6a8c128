import type { Tensor } from "@thalweg/tensor";
import { expectTypeOf, test } from "vitest";
import {
  adam,
  adamw,
  applyUpdates,
  cosine,
  evalParams,
  type GradientTransformation,
  type OptimizerState,
  partition,
  rmsprop,
  scale,
  sgd,
} from "../src/index";

interface Params {
  readonly layers: readonly { readonly kernel: Tensor; readonly bias: Tensor | null }[];
}
declare const params: Params;
declare const state: OptimizerState;

test("trees keep their types", () => {
  const optimizer = adam({ learningRate: 0.1 });
  expectTypeOf(optimizer).toEqualTypeOf<GradientTransformation>();
  expectTypeOf(optimizer.init(params)).toEqualTypeOf<OptimizerState>();
  expectTypeOf(optimizer.update(params, state, params)).toEqualTypeOf<readonly [Params, OptimizerState]>();
  expectTypeOf(applyUpdates(params, params)).toEqualTypeOf<Params>();
  expectTypeOf(evalParams(optimizer, state, params)).toEqualTypeOf<Params>();
});

test("options are those of the record", () => {
  sgd();
  adamw({ learningRate: cosine({ peak: 1, totalSteps: 10 }), decayMask: ({ path }) => path.length > 1 });
  rmsprop({ centered: true, decayMask: "all" });
  // @ts-expect-error there is no such option
  sgd({ momentum: 0.9 });
  adam({ beta1: cosine({ peak: 0.9, totalSteps: 10 }) });
  // @ts-expect-error only the initial state depends on it
  rmsprop({ initialAccumulator: cosine({ peak: 1, totalSteps: 10 }) });
  // @ts-expect-error the choices are known
  adam({ decayMask: "vectors" });
  // @ts-expect-error the peak is required
  cosine({ totalSteps: 10 });
});

test("labels are those of the transformations", () => {
  partition({ matrix: adam(), vector: scale(1) }, ({ shape }) => (shape.length > 1 ? "matrix" : "vector"));
  // @ts-expect-error there is no transformation for "bias"
  partition({ matrix: adam() }, () => "bias" as const);
});
