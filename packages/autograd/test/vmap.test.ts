import {
  ArgumentError,
  concat,
  DisposedError,
  key,
  randomBits,
  ShapeError,
  split,
  type Tensor,
  tensor,
} from "@thalweg/tensor";
import { evaluateReference, type NdArray } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { grad, hessian, hvp, jacobian, jvp, linearize, vjp, vmap } from "../src/index";
import { cases, type FunctionCase } from "./functions";
import { agree, bound, exampleOf, randomArrays, read, stackArrays, weighted } from "./support";

type ListFunction = (...args: Tensor[]) => Tensor[];

/** Compares a batched function with a loop over its examples. `batched` says which arguments have a batch axis. */
function checkAgainstLoop(
  f: ListFunction,
  example: FunctionCase,
  batched: readonly boolean[],
  size: number,
  seed: number,
) {
  const shapes = example.shapes.map((shape, index) => (batched[index] ? [size, ...shape] : shape));
  const arrays = randomArrays(seed, shapes, example.domain);
  const whole = bound(arrays);
  const results = vmap(f, { in: batched.map((is) => (is ? 0 : null)), size })(...whole.tensors);
  const single = bound(arrays.map((array, index) => (batched[index] ? exampleOf(array, 0) : array)));
  const outputs = f(...single.tensors);
  const loop = Array.from({ length: size }, (_, i) => {
    const at = new Map(
      single.tensors.map((tensor, index) => {
        const array = arrays[index] as NdArray;
        return [tensor, batched[index] ? exampleOf(array, i) : array];
      }),
    );
    return evaluateReference(outputs, at);
  });
  const expected = outputs.map((_, index) => stackArrays(loop.map((arrays) => arrays[index] as NdArray)));
  expect(results.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
  agree(results, expected, whole.bindings, 11);
}

const allArguments = (args: readonly unknown[]): number[] => args.map((_, index) => index);

describe.each(cases)("$name", (example) => {
  const g = weighted(example);
  const gradient: ListFunction = (...args) => grad(g, { argnums: allArguments(args) })(...args) as Tensor[];
  const everywhere = example.shapes.map(() => true);

  it("batched in all arguments, and in one at a time, is the loop", () => {
    const f: ListFunction = (...args) => [example.f(...args)];
    checkAgainstLoop(f, example, everywhere, 3, 1);
    example.shapes.forEach((_, only) =>
      checkAgainstLoop(
        f,
        example,
        example.shapes.map((_, index) => index === only),
        2,
        2 + only,
      ),
    );
  });

  it("has per-example gradients: vmap of grad", () => {
    checkAgainstLoop(gradient, example, everywhere, 2, 11);
    example.shapes.forEach((_, only) =>
      checkAgainstLoop(
        gradient,
        example,
        example.shapes.map((_, index) => index === only),
        2,
        12 + only,
      ),
    );
  });

  it("has per-example directional derivatives, of gradients too: vmap of jvp of grad", () => {
    const alongItself: ListFunction = (...args) => [
      jvp(
        example.f,
        args,
        args.map((arg) => arg.sin()),
      )[1],
      ...jvp(
        (...inner: Tensor[]) => gradient(...inner),
        args,
        args.map((arg) => arg.cos()),
      )[1],
    ];
    checkAgainstLoop(alongItself, example, everywhere, 2, 21);
  });

  it("commutes with differentiation: grad of a sum of a vmap is the vmap of grad", () => {
    const arrays = randomArrays(
      31,
      example.shapes.map((shape) => [3, ...shape]),
      example.domain,
    );
    const { tensors, bindings } = bound(arrays);
    const total = (...args: Tensor[]): Tensor => vmap((...inner: Tensor[]) => g(...inner))(...args).sum();
    const outside = grad(total, { argnums: allArguments(tensors) })(...tensors) as Tensor[];
    agree(outside, evaluateReference(vmap(gradient)(...tensors), bindings), bindings, 11);
    const directions = tensors.map((tensor) => tensor.cos());
    const [, tangent] = jvp(
      vmap((...inner: Tensor[]) => example.f(...inner)),
      tensors,
      directions,
    );
    const inside = vmap((args: Tensor[], along: Tensor[]) => jvp(example.f, args, along)[1])(tensors, directions);
    agree([tangent], evaluateReference([inside], bindings), bindings, 11);
  });

  it("nests: vmap of vmap is the vmap over both axes at once", () => {
    const arrays = randomArrays(
      41,
      example.shapes.map((shape) => [2, 3, ...shape]),
      example.domain,
    );
    const { tensors, bindings } = bound(arrays);
    const nested = vmap(vmap((...args: Tensor[]) => [example.f(...args), ...gradient(...args)]))(...tensors);
    const merged = tensors.map((tensor) => tensor.reshape([6, ...tensor.shape.slice(2)]));
    const flat = vmap((...args: Tensor[]) => [example.f(...args), ...gradient(...args)])(...merged);
    const expected = flat.map((tensor) => tensor.reshape([2, 3, ...tensor.shape.slice(1)]));
    agree(nested, evaluateReference(expected, bindings), bindings, 11);
  });
});

describe("vmap", () => {
  const x = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ]);

  it("takes and gives any axis", () => {
    const columns = vmap((column: Tensor) => column.mul(2), { in: 1, out: 1 })(x);
    expect(columns.shape).toEqual([2, 3]);
    expect(read(columns)).toEqual([[2, 4, 6, 8, 10, 12]]);
    expect(vmap((column: Tensor) => column.sum(), { in: -1 })(x).shape).toEqual([3]);
    expect(vmap((row: Tensor) => row, { out: -1 })(x).shape).toEqual([3, 2]);
  });

  it("takes trees of axes, of which one entry stands for a subtree", () => {
    const f = (model: { w: Tensor; b: Tensor }, { image }: { image: Tensor }) => image.dot(model.w).add(model.b);
    const model = { w: tensor([1, 0, -1]), b: tensor([10, 20]) };
    const result = vmap(f, { in: [{ w: null, b: 0 }, 0] })(model, { image: x });
    expect(read(result)).toEqual([[8, 18]]);
  });

  it("repeats results that do not depend on the batch, and leaves them single where out is null", () => {
    const single = tensor([7, 8]);
    const { repeated, kept } = vmap((row: Tensor) => ({ repeated: single.add(1), kept: single, sum: row.sum() }), {
      out: { repeated: 0, kept: null, sum: 0 },
    })(x);
    expect(read(repeated, kept)).toEqual([
      [8, 9, 8, 9],
      [7, 8],
    ]);
    expect(kept).toBe(single);
  });

  it("shares what does not depend on the batch", () => {
    const w = tensor([1, 2, 3]);
    let shared: Tensor | undefined;
    const result = vmap((row: Tensor) => {
      shared = w.exp();
      return row.mul(shared);
    })(x);
    const reachable = new Set<unknown>();
    const pending: Tensor[] = [result];
    for (let next = pending.pop(); next; next = pending.pop()) {
      reachable.add(next);
      pending.push(...next.inputs);
    }
    expect(reachable.has(shared)).toBe(true);
    expect(shared?.shape).toEqual([3]);
  });

  it("gives every example of a batch of keys its own random numbers", () => {
    const keys = split(key(3), 4);
    const batched = vmap((own: Tensor) => randomBits(own, [5]))(keys);
    const loop = concat(Array.from({ length: 4 }, (_, i) => randomBits(keys.slice([i], [i + 1]).reshape([2]), [1, 5])));
    expect(read(batched)).toEqual(read(loop));
  });

  it("works on an empty batch", () => {
    const result = vmap(grad((row: Tensor) => row.square().sum()))(tensor([], { shape: [0, 3] }));
    expect(result.shape).toEqual([0, 3]);
  });

  it("passes arguments that are not batched through as they are", () => {
    const scale = (row: Tensor, factor: number) => row.mul(factor).sum();
    expect(read(vmap(scale, { in: [0, null] })(x, 2))).toEqual([[12, 30]]);
  });

  it("takes the number of examples from size when nothing is batched", () => {
    expect(read(vmap((a: Tensor) => a.add(1), { in: null, size: 2 })(tensor([1, 2])))).toEqual([[2, 3, 2, 3]]);
  });

  it("maps pullbacks, linear maps, Jacobians and Hessians", () => {
    const f = (row: Tensor): Tensor => row.sin().mul(row.sum());
    const [, pull] = vjp(f, x.slice([0], [1]).reshape([3]));
    const [, push] = linearize(f, x.slice([0], [1]).reshape([3]));
    const basis = tensor([
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ]);
    const rows = vmap((c: Tensor) => pull(c)[0])(basis);
    const columns = vmap((v: Tensor) => push(v), { out: 1 })(basis);
    const whole = vmap(jacobian(f))(x);
    const wanted = read(whole.slice([0], [1]).reshape([3, 3]))[0] as number[];
    (read(rows)[0] as number[]).forEach((value, index) => expect(value).toBeCloseTo(wanted[index] as number, 12));
    (read(columns)[0] as number[]).forEach((value, index) => expect(value).toBeCloseTo(wanted[index] as number, 12));
    const scalar = (row: Tensor) => f(row).square().sum();
    const hessians = vmap(hessian(scalar))(x);
    expect(hessians.shape).toEqual([2, 3, 3]);
    const products = vmap((row: Tensor) => hvp(scalar, row, row))(x);
    const contracted = vmap((matrix: Tensor, row: Tensor) => matrix.dot(row))(hessians, x);
    const [expected, actual] = read(contracted, products) as [number[], number[]];
    actual.forEach((value, index) => expect(value).toBeCloseTo(expected[index] as number, 9));
  });
});

describe("vmap reports", () => {
  const message = (run: () => unknown): Error => {
    try {
      run();
    } catch (error) {
      return error as Error;
    }
    throw new TypeError("nothing was thrown");
  };
  const images = tensor(new Float32Array(12), { shape: [4, 3] });
  const labels = tensor([1, 2, 3]);

  it("batched axes of different extents, with both arguments", () => {
    const error = message(() => vmap((a: { x: Tensor }, b: Tensor) => a.x.mul(b))({ x: images }, labels));
    expect(error).toBeInstanceOf(ShapeError);
    expect(error.message).toMatchInlineSnapshot(
      `"vmap: argument 0 (x) [4, 3] axis 0 has 4, argument 1 [3] axis 0 has 3. Batched axes must have one extent; check the option \`in\`."`,
    );
    expect(message(() => vmap((a: Tensor) => a, { size: 5 })(images)).message).toMatchInlineSnapshot(
      `"vmap: size 5, argument 0 [4, 3] axis 0 has 4. Batched axes must have one extent; check the option \`in\`."`,
    );
  });

  it("axes that do not exist or fit no tree", () => {
    expect(message(() => vmap((a: Tensor) => a)(tensor(1))).message).toMatchInlineSnapshot(
      `"vmap: argument 0 is a scalar and has no axis to batch over. Set its entry of \`in\` to null."`,
    );
    expect(message(() => vmap((a: Tensor) => a, { in: 2 })(images)).message).toMatchInlineSnapshot(
      `"vmap of argument 0: axis 2 is outside of rank 2; give one from -2 to 1."`,
    );
    expect(
      message(() => vmap((a: Tensor, b: Tensor) => a.add(b), { in: [0] })(images, labels)).message,
    ).toMatchInlineSnapshot(`"vmap: \`in\` has 1 entries for 2 arguments. Give one for each."`);
    expect(message(() => vmap((a: { x: Tensor }) => a.x, { in: [{}] })({ x: images })).message).toMatchInlineSnapshot(
      `"vmap: \`in\` gives no axis for argument 0 (x). Give a number, or null for "not batched"."`,
    );
    expect(message(() => vmap((a: Tensor) => a, { out: 3 })(images)).message).toMatchInlineSnapshot(
      `"vmap of the result: axis 3 is outside of rank 2; give one from -2 to 1."`,
    );
    expect(message(() => vmap((a: Tensor, n: number) => a.mul(n))(images, 3)).message).toMatchInlineSnapshot(
      `"vmap: argument 1 is a number and cannot be batched. Set its entry of \`in\` to null."`,
    );
  });

  it("a batched result whose out is null", () => {
    const error = message(() => vmap((a: Tensor) => a.sum(), { out: null })(images));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toMatchInlineSnapshot(
      `"vmap: the result differs between examples, \`out\` cannot be null for it. Give an axis."`,
    );
  });

  it("that nothing is batched", () => {
    expect(message(() => vmap((a: Tensor) => a, { in: null })(images)).message).toMatchInlineSnapshot(
      `"vmap: no argument is batched. Give an axis in the option \`in\`, or the number of examples as \`size\`."`,
    );
  });

  it("results that are no tensors", () => {
    const f = ((a: Tensor) => ({ a, loss: 3 })) as unknown as (a: Tensor) => Tensor;
    expect(message(() => vmap(f)(images)).message).toMatchInlineSnapshot(
      `"vmap: the result (loss) is a number, not a tensor. Use tensor(…)."`,
    );
    const asynchronous = (async (a: Tensor) => a) as unknown as (a: Tensor) => Tensor;
    expect(message(() => vmap(asynchronous)(images)).message).toMatchInlineSnapshot(
      `"vmap: the result is an object of class Promise, not a tensor. A transformed function is not async: read values outside of it."`,
    );
  });

  it("that elements of one example cannot be read", async () => {
    const reads: Promise<unknown>[] = [];
    vmap((row: Tensor) => {
      reads.push(row.data(), row.sum().item());
      return row;
    })(images);
    for (const outcome of await Promise.allSettled(reads)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(DisposedError) });
      expect(String((outcome as PromiseRejectedResult).reason)).toContain("in which it stood for one example");
    }
  });

  it("the use of a tensor that was kept from inside, also after the function failed", () => {
    let kept: Tensor | undefined;
    let made: Tensor | undefined;
    vmap((row: Tensor) => {
      kept = row;
      made = row.sin();
      return made;
    })(images);
    expect(message(() => kept?.add(1))).toBeInstanceOf(DisposedError);
    expect(message(() => made?.add(1)).message).toMatchInlineSnapshot(
      `"A tensor f32 [3] was used after it was let go with the vmap in which it stood for one example (return from the function what you need). Keep a copy if you need it."`,
    );
    const failing = vmap((row: Tensor): Tensor => {
      kept = row;
      throw new RangeError("in the middle");
    });
    expect(message(() => failing(images))).toBeInstanceOf(RangeError);
    expect(message(() => kept?.add(1))).toBeInstanceOf(DisposedError);
  });
});
