import {
  ArgumentError,
  DTypeError,
  ShapeError,
  stopGradient,
  Tensor,
  type ThalwegError,
  tensor,
  treeLeaves,
  zeros,
} from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { grad, hessian, hvp, jacobian, jvp, linearize, valueAndGrad, vjp } from "../src/index";
import { read } from "./support";

const rosenbrock = ({ u, v }: { u: Tensor; v: Tensor }): Tensor =>
  u.neg().add(1).square().add(v.sub(u.square()).square().mul(100));

function failure(run: () => unknown): ThalwegError {
  try {
    run();
  } catch (error) {
    return error as ThalwegError;
  }
  throw new TypeError("nothing was thrown");
}

/** Does to a node what evaluation on a device does: it gets its elements and lets its inputs go. */
function realize(output: Tensor): void {
  const [values] = read(output) as [number[]];
  output.realize({ kind: "host", bytes: Float32Array.from(values).buffer as ArrayBuffer });
}

describe("grad", () => {
  it("gives a tree like the argument", () => {
    const { u, v } = grad(rosenbrock)({ u: tensor(-0.5), v: tensor(1.5) });
    // d/du = -2(1-u) - 400u(v-u²), d/dv = 200(v-u²)
    expect(read(u, v)).toEqual([[247], [250]]);
  });

  it("keeps null, undefined and empty parts of trees", () => {
    interface Params {
      readonly layers: readonly ({ w: Tensor; bias: Tensor | null } | null)[];
      readonly none: undefined;
      readonly empty: readonly [];
      readonly nothing: Record<string, never>;
    }
    const params: Params = {
      layers: [{ w: tensor([1, 2]), bias: null }, null],
      none: undefined,
      empty: [],
      nothing: {},
    };
    const gradients = grad((p: Params) => (p.layers[0] as { w: Tensor }).w.square().sum())(params);
    expect(gradients).toEqual({
      layers: [{ w: expect.any(Tensor), bias: null }, null],
      none: undefined,
      empty: [],
      nothing: {},
    });
    expect(read(...treeLeaves<Tensor>(gradients))).toEqual([[2, 4]]);
  });

  it("gives zeros of the right shape to what the value does not depend on", () => {
    const gradients = grad((p: { used: Tensor; unused: Tensor }) => p.used.sum())({
      used: tensor([1]),
      unused: zeros([2, 2]),
    });
    expect(gradients.unused.shape).toEqual([2, 2]);
    expect(read(gradients.used, gradients.unused)).toEqual([[1], [0, 0, 0, 0]]);
    expect(read(grad((_x: Tensor) => tensor(3))(tensor([1, 2])))).toEqual([[0, 0]]);
  });

  it("differentiates the function that returns its argument", () => {
    expect(read(grad((x: Tensor) => x)(tensor(3)))).toEqual([[1]]);
  });

  it("treats one tensor in two places of a tree as two arguments", () => {
    const x = tensor(3);
    const { a, b } = grad((p: { a: Tensor; b: Tensor }) => p.a.mul(p.b.square()))({ a: x, b: x });
    expect(read(a, b)).toEqual([[9], [18]]);
  });

  it("takes other arguments and closed-over tensors as constants", () => {
    const outer = tensor([1, 2]);
    const loss = (w: Tensor, batch: { images: Tensor; labels: Tensor }, scale: number) =>
      w.mul(batch.images).mul(outer).mul(batch.labels.cast("f32")).sum().mul(scale);
    const batch = { images: tensor([3, 4]), labels: tensor([1, 2], { dtype: "i32" }) };
    expect(read(grad(loss)(tensor([1, 1]), batch, 2))).toEqual([[6, 32]]);
  });

  it("takes the arguments that argnums names", () => {
    const f = (a: Tensor, b: Tensor, c: Tensor) => a.mul(b).mul(c.square());
    const at = [tensor(2), tensor(3), tensor(4)] as const;
    expect(read(grad(f, { argnums: 2 })(...at))).toEqual([[48]]);
    expect(read(...grad(f, { argnums: [2, 0] })(...at))).toEqual([[48], [48]]);
    expect(read(...grad(f, { argnums: [1] })(...at))).toEqual([[32]]);
  });

  it("hands an auxiliary result through", () => {
    const f = (x: Tensor) => [x.square().sum(), { doubled: x.mul(2), count: 3 }] as const;
    const [gradients, aux] = grad(f, { hasAux: true })(tensor([1, 2]));
    expect(read(gradients, aux.doubled)).toEqual([
      [2, 4],
      [2, 4],
    ]);
    expect(aux.count).toBe(3);
    const [[value, more], slopes] = valueAndGrad(f, { hasAux: true })(tensor([1, 2]));
    expect(read(value, slopes, more.doubled)).toEqual([[5], [2, 4], [2, 4]]);
  });

  it("gives integer leaves zeros where they are allowed", () => {
    const f = (batch: { x: Tensor; labels: Tensor }) => batch.x.mul(batch.labels.cast("f32")).sum();
    const batch = { x: tensor([1, 2]), labels: tensor([3, 4], { dtype: "i32" }) };
    const { x, labels } = grad(f, { allowIntegers: true })(batch);
    expect(labels.dtype).toBe("i32");
    expect(read(x, labels)).toEqual([
      [3, 4],
      [0, 0],
    ]);
  });

  it("keeps f16", () => {
    const x = tensor([1, 2], { dtype: "f16" });
    const gradient = grad((y: Tensor) => y.square().sum())(x);
    expect(gradient.dtype).toBe("f16");
    expect(read(gradient)).toEqual([[2, 4]]);
    expect(grad((y: Tensor) => y.cast("f32").square().sum())(x).dtype).toBe("f16");
  });

  it("stops where it is told to", () => {
    const f = (x: Tensor) => stopGradient(x).mul(x).sum();
    expect(read(grad(f)(tensor([3, 4])))).toEqual([[3, 4]]);
    expect(read(jvp(f, [tensor([3, 4])], [tensor([1, 0])])[1])).toEqual([[3]]);
  });

  it("does not flow through integers, comparisons and rounding", () => {
    const f = (x: Tensor) =>
      x.argmax({ axis: 0 }).cast("f32").add(x.floor().sum()).add(x.greater(0).cast("f32").sum()).add(x.sum());
    expect(read(grad(f)(tensor([1.5, 0.5])))).toEqual([[1, 1]]);
  });

  it("differentiates through gradients of any order", () => {
    const f = (x: Tensor) => x.pow(5);
    const derivatives = [f, grad(f), grad(grad(f)), grad(grad(grad(f))), grad(grad(grad(grad(f))))];
    expect(read(...derivatives.map((derivative) => derivative(tensor(2))))).toEqual([[32], [80], [160], [240], [240]]);
  });

  it("keeps the variables of nested derivatives apart", () => {
    // d/dx (x · d/dy (x + y)) = 1, not 2.
    const f = (x: Tensor) => x.mul(grad((y: Tensor) => x.add(y))(tensor(1)));
    expect(read(grad(f)(tensor(1)))).toEqual([[1]]);
    const g = (x: Tensor) => x.mul(jvp((y: Tensor) => x.mul(y), [tensor(2)], [tensor(1)])[1]);
    expect(read(jvp(g, [tensor(3)], [tensor(1)])[1])).toEqual([[6]]);
  });

  it("looks only at the nodes between arguments and value", () => {
    const history = tensor([1, 2]).sin();
    Object.defineProperty(history, "inputs", {
      get: () => {
        throw new RangeError("The graph behind a constant was visited.");
      },
    });
    const gradient = grad((w: Tensor) => w.mul(history).sum());
    expect(gradient(tensor([1, 2])).shape).toEqual([2]);
  });

  it("goes through a chain of 10,000 operations", () => {
    const deep = (x: Tensor): Tensor => {
      let y = x;
      for (let i = 0; i < 5_000; i++) y = y.mul(0.9999).add(0.0001);
      return y;
    };
    const slope = 0.9999 ** 5_000;
    const [first] = read(grad(deep)(tensor(2))) as [number[]];
    expect(first[0]).toBeCloseTo(slope, 10);
    const [forward] = read(jvp(deep, [tensor(2)], [tensor(1)])[1]) as [number[]];
    expect(forward[0]).toBeCloseTo(slope, 10);
  });

  it("sums the cotangents of many uses in one order", () => {
    const f = (x: Tensor) => Array.from({ length: 30 }, (_, i) => x.mul(1 / (i + 3))).reduce((a, b) => a.add(b));
    const shape = (gradient: Tensor): string => {
      const names: string[] = [];
      const pending = [gradient];
      for (let next = pending.pop(); next; next = pending.pop()) {
        names.push(`${next.primitive.name}/${JSON.stringify(next.params)}`);
        pending.push(...next.inputs);
      }
      return names.join();
    };
    expect(shape(grad(f)(tensor(1)))).toBe(shape(grad(f)(tensor(1))));
  });
});

describe("vjp", () => {
  it("gives a pullback that can be called again, and after its graph was realised", () => {
    const x = tensor([1, 2]);
    const [y, pull] = vjp((a: Tensor) => ({ sine: a.sin(), square: a.square() }), x);
    const ones = { sine: tensor([1, 1]), square: tensor([0, 0]) };
    const before = read(...pull(ones));
    for (const output of [y.sine, y.square]) realize(output);
    expect(read(...pull(ones))).toEqual(before);
    expect(read(...pull({ sine: tensor([0, 0]), square: tensor([1, 1]) }))).toEqual([[2, 4]]);
  });

  it("takes several arguments and several results", () => {
    const [[sum, product], pull] = vjp(
      (a: Tensor, b: { c: Tensor }): [Tensor, Tensor] => [a.add(b.c), a.mul(b.c)],
      tensor(3),
      {
        c: tensor(5),
      },
    );
    expect(read(sum, product)).toEqual([[8], [15]]);
    const [a, { c }] = pull([tensor(1), tensor(10)]);
    expect(read(a, c)).toEqual([[51], [31]]);
  });

  it("takes the names of a tree in any order", () => {
    const [, pull] = vjp((p: { a: Tensor; b: Tensor }) => ({ a: p.a.mul(2), b: p.b.mul(3) }), {
      a: tensor(1),
      b: tensor(1),
    });
    const [{ a, b }] = pull({ b: tensor(10), a: tensor(1) });
    expect(read(a, b)).toEqual([[2], [30]]);
    const product = hvp(rosenbrock, { u: tensor(1), v: tensor(1) }, { v: tensor(2), u: tensor(1) });
    expect(read(product.u, product.v)).toEqual([[2], [0]]);
  });

  it("adds the cotangents of a tensor that is returned twice", () => {
    const [, pull] = vjp((a: Tensor) => {
      const b = a.mul(2);
      return [b, b, a];
    }, tensor(1));
    expect(read(...pull([tensor(1), tensor(10), tensor(100)]))).toEqual([[122]]);
  });
});

describe("linearize", () => {
  it("gives a linear map that can be called again, and after its graph was realised", () => {
    const [y, push] = linearize((a: Tensor) => a.sin().reshape([2, 1]), tensor([1, 2]));
    const before = read(push(tensor([1, 1])));
    realize(y);
    expect(read(push(tensor([1, 1])))).toEqual(before);
    expect(read(push(tensor([2, -1])))).toEqual([[2 * Math.cos(1), -Math.cos(2)]]);
  });

  it("runs the function once", () => {
    let calls = 0;
    const [, push] = linearize((a: Tensor) => {
      calls++;
      return a.sin();
    }, tensor(1));
    push(tensor(1));
    push(tensor(2));
    expect(calls).toBe(1);
  });

  it("gives zeros where a result does not depend on the arguments", () => {
    const [, push] = linearize((a: Tensor) => ({ constant: tensor([1, 2]), same: a }), tensor(1));
    const { constant, same } = push(tensor(4));
    expect(read(constant, same)).toEqual([[0, 0], [4]]);
  });
});

describe("Jacobians and Hessians", () => {
  it("of trees are trees of trees", () => {
    const curvature = hessian(rosenbrock)({ u: tensor(1), v: tensor(1) });
    expect(read(curvature.u.u, curvature.u.v, curvature.v.u, curvature.v.v)).toEqual([[802], [-400], [-400], [200]]);
    const blocks = jacobian((p: { a: Tensor; b: Tensor }) => ({
      outer: p.a.expandDims(1).mul(p.b),
      constant: tensor([1]),
    }))({
      a: tensor([1, 2]),
      b: tensor([3, 4, 5]),
    });
    expect(blocks.outer.a.shape).toEqual([2, 3, 2]);
    expect(blocks.outer.b.shape).toEqual([2, 3, 3]);
    expect(blocks.constant.b.shape).toEqual([1, 3]);
    expect(read(blocks.outer.a, blocks.constant.a)).toEqual([
      [3, 0, 4, 0, 5, 0, 0, 3, 0, 4, 0, 5],
      [0, 0],
    ]);
  });

  it("take another argument than the first", () => {
    const f = (x: Tensor, w: Tensor) => x.mul(w.pow(3)).sum();
    expect(read(hessian(f, { argnums: 1 })(tensor([1, 2]), tensor([1, 1])))).toEqual([[6, 0, 0, 12]]);
    expect(read(jacobian(f, { argnums: 1, mode: "forward" })(tensor([1, 2]), tensor([1, 1])))).toEqual([[3, 6]]);
  });

  it("times a direction need no Hessian", () => {
    const at = { u: tensor(1), v: tensor(1) };
    const product = hvp(rosenbrock, at, { u: tensor(1), v: tensor(2) });
    expect(read(product.u, product.v)).toEqual([[2], [0]]);
    const weighted = (p: Tensor, scale: Tensor) => p.pow(3).mul(scale).sum();
    expect(read(hvp(weighted, tensor([1, 2]), tensor([1, 1]), tensor([1, 10])))).toEqual([[6, 120]]);
  });
});

describe("messages", () => {
  const x = tensor([1, 2]);

  it("name the shape of a result that is no scalar", () => {
    const error = failure(() => grad((a: Tensor) => a.square())(x));
    expect(error).toBeInstanceOf(ShapeError);
    expect(error.message).toMatchInlineSnapshot(
      `"grad: the function returned [2], a gradient needs a scalar. Reduce it with .mean() or .sum(), or use jacobian."`,
    );
    expect(failure(() => hvp((a: Tensor) => a, x, x)).message).toMatchInlineSnapshot(
      `"hvp: the function returned [2], a gradient needs a scalar. Reduce it with .mean() or .sum(), or use jacobian."`,
    );
  });

  it("say what a function returned instead of a tensor", () => {
    const broken = (value: unknown) => (() => value) as unknown as (a: Tensor) => Tensor;
    const error = failure(() => grad(broken(3))(x));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toMatchInlineSnapshot(
      `"grad: the function returned a number, not a tensor. Return the loss as a tensor of shape []."`,
    );
    expect(failure(() => valueAndGrad(broken([x.sum(), 1]))(x)).message).toMatchInlineSnapshot(
      `"valueAndGrad: the function returned an array, not a tensor. For [value, aux] set hasAux."`,
    );
    expect(failure(() => grad(broken(undefined))(x)).message).toMatchInlineSnapshot(
      `"grad: the function returned undefined, not a tensor. Return the loss as a tensor of shape []."`,
    );
    expect(failure(() => grad(broken(Promise.resolve(x)))(x)).message).toMatchInlineSnapshot(
      `"grad: the function returned an object of class Promise, not a tensor. A differentiated function is not async: read values outside of it."`,
    );
    expect(failure(() => vjp(broken({ loss: "low" }), x)).message).toMatchInlineSnapshot(
      `"vjp: the result (loss) is a string, not a tensor. Use tensor(…)."`,
    );
    const noAux = ((a: Tensor) => a.sum()) as unknown as (a: Tensor) => readonly [Tensor, number];
    expect(failure(() => grad(noAux, { hasAux: true })(x)).message).toMatchInlineSnapshot(
      `"grad: with hasAux the function must return [scalar, aux]."`,
    );
  });

  it("name integer results", () => {
    const error = failure(() => grad((a: Tensor) => a.argmax({ axis: 0 }))(x));
    expect(error).toBeInstanceOf(DTypeError);
    expect(error.message).toMatchInlineSnapshot(
      `"grad: the function returned i32, a gradient needs a float. Cast: .cast("f32")."`,
    );
    expect(
      failure(() => vjp((a: Tensor) => ({ loss: a.sum(), label: a.argmax({ axis: 0 }) }), x)).message,
    ).toMatchInlineSnapshot(
      `"vjp: the result (label) is i32, derivatives exist for floats. Compute it outside, or return it as the auxiliary result of valueAndGrad."`,
    );
  });

  it("name the argument that is no float or no tensor", () => {
    const labels = tensor([1, 2], { dtype: "i32" });
    const f = (batch: { x: Tensor; labels: Tensor }) => batch.x.sum();
    const error = failure(() => grad(f)({ x, labels }));
    expect(error).toBeInstanceOf(DTypeError);
    expect(error.message).toMatchInlineSnapshot(
      `"grad: argument 0 (labels) is i32, derivatives exist with respect to floats. Pass it as another argument, or set allowIntegers."`,
    );
    expect(failure(() => vjp(f, { x, labels })).message).toMatchInlineSnapshot(
      `"vjp: argument 0 (labels) is i32, derivatives exist with respect to floats. Close over it instead."`,
    );
    expect(
      failure(() => grad((_a: Tensor, rate: number) => x.sum().mul(rate), { argnums: 1 })(x, 0.1)).message,
    ).toMatchInlineSnapshot(`"grad: argument 1 is a number, not a tensor. Use tensor(…)."`);
  });

  it("name argnums that do not fit", () => {
    expect(failure(() => grad((a: Tensor) => a.sum(), { argnums: 1 })(x)).message).toMatchInlineSnapshot(
      `"grad: argnums names argument 1, the function was called with 1. Count from 0."`,
    );
    expect(failure(() => grad((a: Tensor) => a.sum(), { argnums: [0, 0] })(x)).message).toMatchInlineSnapshot(
      `"grad: argnums [0, 0] names an argument twice."`,
    );
  });

  it("show tangents and cotangents that do not fit", () => {
    const [, pull] = vjp((a: Tensor) => ({ y: a.sin() }), x);
    expect(failure(() => pull({ y: tensor([1]) })).message).toMatchInlineSnapshot(
      `"vjp: the cotangents of the result (y) have shape [1], expected [2]."`,
    );
    expect(failure(() => pull({ z: x } as unknown as { y: Tensor })).message).toMatchInlineSnapshot(
      `"vjp: the cotangents have the structure {"z":*}, expected {"y":*}."`,
    );
    expect(failure(() => jvp((a: Tensor) => a, [x], [tensor([1, 2], { dtype: "i32" })])).message).toMatchInlineSnapshot(
      `"jvp: the tangents of argument 0 are i32, expected f32."`,
    );
    const [, push] = linearize((a: Tensor) => a, x);
    expect(failure(() => push(tensor(1))).message).toMatchInlineSnapshot(
      `"linearize: the tangents of argument 0 have shape [], expected [2]."`,
    );
    expect(failure(() => push(3 as unknown as Tensor)).message).toMatchInlineSnapshot(
      `"linearize: the tangents of argument 0 hold a number, not a tensor."`,
    );
  });
});
