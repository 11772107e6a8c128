import { DTypeError, ShapeError, type Tensor, tensor, where } from "@thalweg/tensor";
import { directionalDerivative, evaluateReference, type NdArray } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { customRule, grad, hessian, hvp, jacobian, jvp, linearize, vjp, vmap } from "../src/index";
import { agree, bound, merge, randomArrays, read } from "./support";

/** sin with its true derivative, given in each of the three ways. */
const sines = {
  "only a vjp": customRule((x: Tensor) => x.sin(), { vjp: (cotangent, { primals: [x] }) => [cotangent.mul(x.cos())] }),
  "only a jvp": customRule((x: Tensor) => x.sin(), { jvp: ([tangent], { primals: [x] }) => tangent.mul(x.cos()) }),
  both: customRule((x: Tensor) => x.sin(), {
    vjp: (cotangent, { primals: [x] }) => [cotangent.mul(x.cos())],
    jvp: ([tangent], { primals: [x] }) => tangent.mul(x.cos()),
  }),
};

describe.each(Object.entries(sines))("a custom rule with %s", (_name, sine) => {
  const [point, direction] = [bound(randomArrays(1, [[3]])), bound(randomArrays(2, [[3]]))];
  const [x, v] = [point.tensors[0] as Tensor, direction.tensors[0] as Tensor];
  const bindings = merge(point.bindings, direction.bindings);
  const composed = (s: (x: Tensor) => Tensor) => (a: Tensor) => s(a.mul(2)).mul(s(a)).sum();
  const plain = (a: Tensor) => a.sin();
  const check = (derivative: (s: (x: Tensor) => Tensor) => Tensor[]) =>
    agree(derivative(sine), evaluateReference(derivative(plain), bindings), bindings, 12);

  it("gives values and first derivatives in both modes", () => {
    check((s) => [composed(s)(x), grad(composed(s))(x)]);
    check((s) => jvp(composed(s), [x], [v]));
    check((s) => [linearize(composed(s), x)[1](v)]);
  });

  it("gives derivatives of higher order, whichever modes are nested", () => {
    check((s) => [hvp(composed(s), x, v), hessian(composed(s))(x)]);
    check((s) => [grad((a: Tensor) => jvp(composed(s), [a], [v])[1])(x)]);
    check((s) => [grad((a: Tensor) => grad(composed(s))(a).mul(v).sum())(x)]);
    check((s) => [jvp((a: Tensor) => jvp(composed(s), [a], [v])[1], [x], [v])[1]]);
    check((s) => [grad((a: Tensor) => hvp(composed(s), a, v).sum())(x)]);
  });

  it("works batched: vmap inside and outside of derivatives, and nested", () => {
    const rows = bound(randomArrays(3, [[2, 4, 3]]));
    const batch = rows.tensors[0] as Tensor;
    const all = merge(bindings, rows.bindings);
    const checkBatch = (derivative: (s: (x: Tensor) => Tensor) => Tensor) =>
      agree([derivative(sine)], evaluateReference([derivative(plain)], all), all, 12);
    checkBatch((s) => vmap(vmap(grad(composed(s))))(batch));
    checkBatch((s) => grad((a: Tensor) => vmap(vmap(composed(s)))(a).sum())(batch));
    checkBatch((s) => vmap(vmap((a: Tensor) => hvp(composed(s), a, v)))(batch));
    checkBatch((s) => jvp(vmap(vmap(s)), [batch], [batch])[1]);
    checkBatch((s) => hvp((a: Tensor) => vmap(vmap(composed(s)))(a).sum(), batch, batch));
    checkBatch((s) => vmap(vmap(jacobian(s)))(batch));
  });
});

describe("customRule", () => {
  it("replaces the derivative: a straight-through estimator", () => {
    const roundThrough = customRule((x: Tensor) => x.round(), { vjp: (cotangent) => [cotangent] });
    const x = tensor([0.4, 1.6]);
    expect(read(roundThrough(x), grad((a: Tensor) => roundThrough(a).square().sum())(x))).toEqual([
      [0, 2],
      [0, 4],
    ]);
    expect(read(jvp(roundThrough, [x], [tensor([1, 3])])[1])).toEqual([[1, 3]]);
  });

  it("allows a rule that is not linear, where no other rule is derived from it", () => {
    const clipped = customRule((x: Tensor) => x.add(0), { vjp: (cotangent) => [cotangent.maximum(-1).minimum(1)] });
    const loss = (x: Tensor) =>
      clipped(x)
        .mul(tensor([3, 0.5]))
        .sum();
    expect(read(grad(loss)(tensor([1, 1])))).toEqual([[1, 0.5]]);
  });

  it("gives a derivative that is stable where the plain one is not", () => {
    // log(1 + exp(x)), the classical example: the plain derivative is infinity over infinity.
    const softplus = customRule((x: Tensor) => x.exp().add(1).log(), {
      jvp: ([tangent], { primals: [x] }) => tangent.mul(x.neg().exp().add(1).reciprocal()),
    });
    const [values] = read(grad((x: Tensor) => softplus(x).sum())(tensor([0, 1000]))) as [number[]];
    expect(values).toEqual([0.5, 1]);
  });

  it("uses the result: a fixed point by its implicit derivative", () => {
    // y = cos(x y), found by iteration; dy = -sin(xy) (x dy + y dx).
    const fixedPoint = customRule(
      (x: Tensor) => {
        let y = x.onesLike();
        for (let i = 0; i < 200; i++) y = x.mul(y).cos();
        return y;
      },
      {
        vjp(cotangent, { primals: [x], output }) {
          const sine = x.mul(output).sin();
          return [cotangent.mul(sine.neg().mul(output)).div(x.mul(sine).add(1))];
        },
      },
    );
    const { tensors, bindings } = bound(randomArrays(5, [[3]], [0.2, 0.8]));
    const x = tensors[0] as Tensor;
    const along = new Map([[x, { shape: [3], dtype: "f32", values: Float64Array.of(1, 2, -1) } as NdArray]]);
    const ones = tensor([1, 2, -1]);
    agree([jvp(fixedPoint, [x], [ones])[1]], directionalDerivative([fixedPoint(x)], bindings, along), bindings, 7);
    const slope = (a: Tensor) => jvp(fixedPoint, [a], [ones])[1];
    agree([jvp(slope, [x], [ones])[1]], directionalDerivative([slope(x)], bindings, along), bindings, 6);
  });

  it("takes trees, several results, integers and options that are no tensors", () => {
    interface Input {
      readonly w: Tensor;
      readonly labels: Tensor;
      readonly note: null;
    }
    const f = ({ w, labels }: Input, scale: number, b: Tensor) => ({
      scaled: w.mul(labels.cast("f32")).mul(scale),
      best: w.argmax({ axis: 0 }),
      norm: w.square().sum().add(b),
    });
    const custom = customRule(f, {
      vjp: ({ scaled, norm }, { primals: [{ w, labels }, scale], output }) => {
        expect(output.best.dtype).toBe("i32");
        return [
          { w: scaled.mul(labels.cast("f32")).mul(scale).add(norm.mul(w).mul(2)), labels: null, note: null },
          null,
          norm,
        ];
      },
    });
    const labels = tensor([1, 2, 3], { dtype: "i32" });
    const total = (g: typeof f) => (w: Tensor, b: Tensor) => {
      const { scaled, best, norm } = g({ w, labels, note: null }, 3, b);
      return scaled.sin().sum().add(norm.square()).add(best.cast("f32"));
    };
    const at = [tensor([0.1, 0.5, 0.3]), tensor(2)] as const;
    const [both, plain] = [custom, f].map((g) => read(...grad(total(g), { argnums: [0, 1] })(...at))) as [
      number[][],
      number[][],
    ];
    both.flat().forEach((value, index) => expect(value).toBeCloseTo(plain.flat()[index] as number, 12));
    const batch = tensor([
      [0.1, 0.5, 0.3],
      [0.7, 0.2, 0.4],
    ]);
    const [batched, loop] = [custom, f].map((g) =>
      read(...vmap(grad(total(g), { argnums: [0, 1] }), { in: [0, null] })(batch, at[1])),
    ) as [number[][], number[][]];
    batched.flat().forEach((value, index) => expect(value).toBeCloseTo(loop.flat()[index] as number, 12));
    const [forward, usual] = [custom, f].map((g) =>
      read(jvp((w: Tensor) => total(g)(w, at[1]), [at[0]], [tensor([1, -2, 3])])[1]),
    ) as [number[][], number[][]];
    expect(forward[0]?.[0]).toBeCloseTo(usual[0]?.[0] as number, 12);
  });

  it("differentiates what the function closes over as usual", () => {
    const outer = (w: Tensor) => {
      const doubled = customRule((x: Tensor) => x.mul(w), { vjp: (cotangent) => [cotangent.mul(100)] });
      return doubled(w).sum();
    };
    // d(x w)/dx is replaced by 100; d(x w)/dw is x.
    expect(read(grad(outer)(tensor([2, 3])))).toEqual([[102, 103]]);
    expect(read(jvp(outer, [tensor([2, 3])], [tensor([1, 0])])[1])).toEqual([[102]]);
  });

  it("sees zeros where there is no tangent", () => {
    const product = customRule((a: Tensor, b: Tensor) => a.mul(b), {
      jvp: ([da, db], { primals: [a, b] }) => da.mul(b).add(db.mul(a)),
    });
    expect(read(grad((a: Tensor) => product(a, tensor(5)))(tensor(2)))).toEqual([[5]]);
    expect(read(jvp((b: Tensor) => product(tensor(2), b), [tensor(5)], [tensor(1)])[1])).toEqual([[2]]);
  });

  it("leaves functions without floats alone", () => {
    const count = customRule((x: Tensor) => x.greater(0).cast("i32").sum(), { vjp: () => [null] });
    expect(read(count(tensor([1, -1, 2])))).toEqual([[2]]);
  });

  it("keeps mixed float dtypes apart", () => {
    const f = customRule((x: Tensor) => ({ half: x.cast("f16"), full: x.mul(2) }), {
      vjp: ({ half, full }) => [half.cast("f32").add(full.mul(2))],
    });
    const result = f(tensor([1, 2]));
    expect([result.half.dtype, result.full.dtype]).toEqual(["f16", "f32"]);
    const [, pull] = vjp(f, tensor([1, 2]));
    expect(read(...pull({ half: tensor([1, 1], { dtype: "f16" }), full: tensor([10, 20]) }))).toEqual([[21, 41]]);
  });
});

describe("customRule reports", () => {
  const x = tensor([1, 2]);
  const failure = (run: () => unknown): Error => {
    try {
      run();
    } catch (error) {
      return error as Error;
    }
    throw new TypeError("nothing was thrown");
  };

  it("that no rule is given", () => {
    const rules = {} as { vjp: (cotangent: Tensor) => [Tensor] };
    expect(failure(() => customRule((a: Tensor) => a, rules)).message).toMatchInlineSnapshot(
      `"customRule: neither vjp nor jvp is given. Give at least one."`,
    );
  });

  it("a rule that is asked for and does not follow from the other", () => {
    const clipped = customRule((a: Tensor) => a.add(0), { vjp: (cotangent) => [cotangent.minimum(1)] });
    expect(failure(() => jvp(clipped, [x], [x])).message).toMatchInlineSnapshot(
      `"customRule: no jvp is given, and the vjp is not linear in its cotangent, so that no jvp follows from it. Give one."`,
    );
    const signed = customRule((a: Tensor) => a.add(0), { jvp: ([t]) => where(t.greater(0), t, 0) });
    expect(failure(() => grad((a: Tensor) => signed(a).sum())(x)).message).toMatchInlineSnapshot(
      `"customRule: no vjp is given, and the jvp is not linear in its tangents, so that no vjp follows from it. Give one."`,
    );
  });

  it("cotangents and tangents that do not fit", () => {
    const gradient = (rule: (cotangent: Tensor) => unknown) => {
      const f = customRule((a: { w: Tensor }) => a.w.sin(), { vjp: rule as (cotangent: Tensor) => [{ w: Tensor }] });
      return failure(() => grad((w: Tensor) => f({ w }).sum())(x));
    };
    const wrongShape = gradient((cotangent) => [{ w: cotangent.sum() }]);
    expect(wrongShape).toBeInstanceOf(ShapeError);
    expect(wrongShape.message).toMatchInlineSnapshot(
      `"customRule: the cotangent for argument 0 (w) has shape [], expected [2]."`,
    );
    const wrongType = gradient((cotangent) => [{ w: cotangent.cast("i32") }]);
    expect(wrongType).toBeInstanceOf(DTypeError);
    expect(wrongType.message).toMatchInlineSnapshot(
      `"customRule: the cotangent for argument 0 (w) is i32, expected f32."`,
    );
    expect(gradient((cotangent) => cotangent).message).toMatchInlineSnapshot(
      `"customRule: the rule gave no cotangent for argument 0 (w). Return a list with one tree per argument, with null for a part without one."`,
    );
    expect(gradient((cotangent) => [{ weight: cotangent }]).message).toMatchInlineSnapshot(
      `"customRule: the rule gave no cotangent for argument 0 (w). Return a list with one tree per argument, with null for a part without one."`,
    );
    const forward = customRule((a: Tensor) => ({ y: a.sin() }), { jvp: ([t]) => t as unknown as { y: Tensor } });
    expect(failure(() => jvp(forward, [x], [x])).message).toMatchInlineSnapshot(
      `"customRule: the rule gave no tangent for the result (y). Return a tree like the result, with null for a part without one."`,
    );
  });
});
