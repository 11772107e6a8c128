import type { Tensor } from "@thalweg/tensor";
import { expectTypeOf, test } from "vitest";
import { customRule, grad, hessian, hvp, jacobian, jvp, linearize, valueAndGrad, vjp, vmap } from "../src/index";

interface Params {
  readonly layers: readonly { readonly w: Tensor; readonly b: Tensor | null }[];
  readonly scale: Tensor;
}

interface Batch {
  readonly images: Tensor;
  readonly labels: Tensor;
}

declare const params: Params;
declare const batch: Batch;
declare const x: Tensor;
declare function loss(params: Params, batch: Batch): Tensor;
declare function lossWithAux(params: Params, batch: Batch): readonly [Tensor, { accuracy: Tensor; count: number }];
declare function logits(params: Params, images: Tensor): { logits: Tensor; features: readonly [Tensor, Tensor] };

test("grad of a function of P gives P", () => {
  expectTypeOf(grad(loss)).parameters.toEqualTypeOf<[Params, Batch]>();
  expectTypeOf(grad(loss)(params, batch)).toEqualTypeOf<Params>();
  expectTypeOf(grad((t: Tensor) => t)(x)).toEqualTypeOf<Tensor>();
  expectTypeOf(grad(grad(grad((t: Tensor) => t)))(x)).toEqualTypeOf<Tensor>();
});

test("argnums selects arguments", () => {
  expectTypeOf(grad(loss, { argnums: 1 })(params, batch)).toEqualTypeOf<Batch>();
  expectTypeOf(grad(loss, { argnums: [1, 0] })(params, batch)).toEqualTypeOf<[Batch, Params]>();
  expectTypeOf(valueAndGrad(loss, { argnums: [0] })(params, batch)).toEqualTypeOf<
    [value: Tensor, gradients: [Params]]
  >();
});

test("hasAux hands the auxiliary result through", () => {
  type Aux = { accuracy: Tensor; count: number };
  expectTypeOf(grad(lossWithAux, { hasAux: true })(params, batch)).toEqualTypeOf<[gradients: Params, aux: Aux]>();
  expectTypeOf(valueAndGrad(lossWithAux, { hasAux: true })(params, batch)).toEqualTypeOf<
    [result: [value: Tensor, aux: Aux], gradients: Params]
  >();
  expectTypeOf(grad(lossWithAux, { hasAux: true, argnums: 1 })(params, batch)).toEqualTypeOf<
    [gradients: Batch, aux: Aux]
  >();
});

test("what does not return a scalar is refused", () => {
  // @ts-expect-error A function with an auxiliary result needs hasAux.
  grad(lossWithAux);
  // @ts-expect-error The result is a tree.
  grad(logits);
});

test("vjp, jvp and linearize follow arguments and result", () => {
  const [result, pull] = vjp(logits, params, x);
  expectTypeOf(result).toEqualTypeOf<ReturnType<typeof logits>>();
  expectTypeOf(pull(result)).toEqualTypeOf<[params: Params, images: Tensor]>();
  const [, tangent] = jvp(logits, [params, x], [params, x]);
  expectTypeOf(tangent).toEqualTypeOf<ReturnType<typeof logits>>();
  const [, push] = linearize(logits, params, x);
  expectTypeOf(push).parameters.toEqualTypeOf<[params: Params, images: Tensor]>();
  // @ts-expect-error One tangent is missing.
  jvp(logits, [params, x], [params]);
});

test("vmap keeps the function's type", () => {
  expectTypeOf(vmap(logits, { in: [null, 0] })).toEqualTypeOf<
    (params: Params, images: Tensor) => ReturnType<typeof logits>
  >();
  expectTypeOf(vmap(grad(loss), { in: [null, { images: 0, labels: 0 }] })(params, batch)).toEqualTypeOf<Params>();
});

test("Jacobians and Hessians are trees of trees", () => {
  const rosenbrock = ({ u }: { u: Tensor; v: Tensor }): Tensor => u;
  expectTypeOf(hessian(rosenbrock)({ u: x, v: x })).toEqualTypeOf<{
    u: { u: Tensor; v: Tensor };
    v: { u: Tensor; v: Tensor };
  }>();
  expectTypeOf(hessian((t: Tensor) => t)(x)).toEqualTypeOf<Tensor>();
  expectTypeOf(jacobian(logits)(params, x).features[0]).toEqualTypeOf<Params>();
  expectTypeOf(jacobian(logits, { argnums: 1, mode: "forward" })(params, x).logits).toEqualTypeOf<Tensor>();
  expectTypeOf(hvp(loss, params, params, batch)).toEqualTypeOf<Params>();
  // @ts-expect-error The batch is missing.
  hvp(loss, params, params);
});

test("custom rules see the arguments and the result", () => {
  const f = customRule((p: Params, t: Tensor) => ({ y: t, z: p.scale }), {
    vjp(cotangent, { primals, output }) {
      expectTypeOf(cotangent).toEqualTypeOf<{ y: Tensor; z: Tensor }>();
      expectTypeOf(output).toEqualTypeOf<{ y: Tensor; z: Tensor }>();
      expectTypeOf(primals).toEqualTypeOf<[p: Params, t: Tensor]>();
      return [{ layers: null, scale: cotangent.z }, cotangent.y];
    },
  });
  expectTypeOf(f).toEqualTypeOf<(p: Params, t: Tensor) => { y: Tensor; z: Tensor }>();
  // @ts-expect-error One cotangent per argument.
  customRule((a: Tensor, b: Tensor) => a.mul(b), { vjp: (cotangent) => [cotangent] });
  // @ts-expect-error At least one rule.
  customRule((a: Tensor) => a, {});
});
