import { compile, init, iota, key, linalg, normal, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  adam,
  applyUpdates,
  lbfgs,
  muon,
  type OptimizerState,
  type Refresh,
  scaleByMuon,
  scaleByShampoo,
  shampoo,
  soap,
  withRoles,
} from "../src/index";
import { blockingOf } from "../src/transforms/blocks";
import { gram, multiplyAxis } from "../src/transforms/stacks";
import { begin, numbers, training } from "./training";

beforeAll(async () => {
  await init({ notice: () => {} });
});

interface Params {
  readonly [name: string]: Tensor;
}

const params = (): Params => ({
  kernel: normal(key(1), [3, 3, 4, 6]),
  other: normal(key(2), [3, 3, 4, 6]),
  dense: normal(key(3), [20, 12]),
  bias: normal(key(4), [12]),
});

/** A bowl that is steeper in some directions. */
const bowl = (own: Params): Tensor =>
  treeLeaves<Tensor>(own)
    .map((x) =>
      x
        .square()
        .mul(iota(x.shape, 0, "f32").add(1))
        .sum(),
    )
    .reduce((a, b) => a.add(b));

describe("blocks", () => {
  it("merge short neighbours, cut long axes, and come together again", async () => {
    expect(blockingOf([3, 3, 16, 16], 128, true).merged).toEqual([9 * 1, 16, 16]);
    expect(blockingOf([3, 1, 2, 2], 8, true).merged).toEqual([6, 2]);
    expect(blockingOf([], 8, true).shapes).toEqual([[1]]);
    expect(blockingOf([5, 7], 3, false).shapes).toEqual([
      [3, 3],
      [3, 3],
      [3, 1],
      [2, 3],
      [2, 3],
      [2, 1],
    ]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 8 }),
        fc.boolean(),
        async (shape, size, merges) => {
          const x = normal(key(1), shape);
          const { cut, join, shapes } = blockingOf(shape, size, merges);
          expect(shapes.flat().every((length) => length <= size)).toBe(true);
          expect(await join(cut(x)).data()).toEqual(await x.data());
        },
      ),
      { numRuns: 25 },
    );
  });

  it("are multiplied along any axis, all of a stack together", async () => {
    const x = normal(key(1), [2, 3, 4, 5]);
    const m = normal(key(2), [2, 4, 4]);
    const expected = x.permute([0, 2, 1, 3]).reshape([2, 4, 15]);
    const moved = m.matmul(expected).reshape([2, 4, 3, 5]).permute([0, 2, 1, 3]);
    expect(await multiplyAxis(x, 1, m).data()).toEqual(await moved.data());
    expect(await gram(x, 1).data()).toEqual(await expected.matmul(expected.transpose()).data());
  });
});

describe("Shampoo", () => {
  it("is its graft where the roots are the identity", async () => {
    // Before the first refresh, and with an exponent of almost 0 behind it.
    const shared = { learningRate: 0.1, weightDecay: 0, beta1: 0.9 };
    const early = shampoo({ ...shared, frequency: 100, stagger: 1 });
    const grafted = shampoo({ ...shared, frequency: 1, stagger: 1, exponentMultiplier: 1e-30 });
    const reference = adam({ learningRate: 0.1 });
    const after = async (optimizer: typeof early) =>
      (await numbers(training(optimizer, bowl).run(begin(optimizer, params()), 0, 5).params)).flat();
    const [a, b, c] = [await after(early), await after(grafted), await after(reference)];
    const largest = (x: readonly number[], y: readonly number[]) =>
      Math.max(...x.map((value, index) => Math.abs(value - (y[index] as number))));
    // Of steps of 0.1, with a dozen roundings each.
    expect(largest(a, c)).toBeLessThan(1e-6);
    // The direction is that of the momentum, with the size of Adam's step: SGD's direction, and no longer Adam's.
    const sgd = shampoo({ ...shared, frequency: 100, stagger: 1, graft: "sgd" });
    const same = shampoo({ ...shared, frequency: 1, stagger: 1, graft: "sgd", exponentMultiplier: 1e-30 });
    expect(largest(await after(sgd), await after(same))).toBeLessThan(1e-5);
    expect(b.every(Number.isFinite)).toBe(true);
  });

  it("takes roots by Newton's method as from eigenvectors", async () => {
    const shared = { learningRate: 0.01, frequency: 2, stagger: 1, epsilon: 1e-3, graft: "none" } as const;
    const [eigen, newton] = [shampoo(shared), shampoo({ ...shared, inverse: "newton" })];
    const [a, b] = [eigen, newton].map((own) => training(own, bowl).run(begin(own, params()), 0, 6).params);
    const [x, y] = [(await numbers(a)).flat(), (await numbers(b)).flat()];
    const largest = Math.max(...x.map(Math.abs));
    x.forEach((value, index) => {
      expect(Math.abs(value - (y[index] as number))).toBeLessThan(1e-4 * largest);
    });
  });

  it("refreshes every block once per interval, in turns", async () => {
    const optimizer = shampoo({ frequency: 6, stagger: 3, start: 6 });
    const tree = params();
    let state: OptimizerState = optimizer.init(tree);
    const roots = async (own: OptimizerState) => {
      const [scaling] = own.buffers as unknown as [
        { readonly factors: readonly { readonly roots: readonly Tensor[] }[] },
      ];
      const all = await Promise.all(scaling.factors.map(({ roots: [first] }) => (first as Tensor).array()));
      return all.flatMap((stack) => (stack as unknown[]).map((root) => JSON.stringify(root)));
    };
    const changes: number[] = [];
    let before = await roots(state);
    const update = compile(
      (own: OptimizerState, from: Tensor, refresh: Refresh) => {
        const gradients = Object.fromEntries(Object.entries(tree).map(([name, x]) => [name, normal(from, x.shape)]));
        return optimizer.update(gradients, own, tree, { refresh })[1];
      },
      { donate: [0] },
    );
    for (let step = 0; step < 18; step++) {
      state = update(state, key(step), optimizer.refreshesAt(step));
      const after = await roots(state);
      changes.push(after.filter((root, index) => root !== before[index]).length);
      before = after;
    }
    const due = Array.from({ length: 18 }, (_, step) => optimizer.refreshesAt(step));
    expect(due.flatMap((kind, step) => (kind === false ? [] : [[step + 1, kind]]))).toEqual([
      [6, "start"],
      [8, true],
      [10, true],
      [12, true],
      [14, true],
      [16, true],
      [18, true],
    ]);
    changes.forEach((count, step) => {
      if (due[step] === false) expect(count).toBe(0);
    });
    const blocks = before.length;
    expect(changes[5]).toBe(blocks);
    expect((changes[7] as number) + (changes[9] as number) + (changes[11] as number)).toBe(blocks);
    expect((changes[13] as number) + (changes[15] as number) + (changes[17] as number)).toBe(blocks);
  });

  it("has no eigenvectors in the program of most steps, and costs the same numbers whichever program runs", async () => {
    const optimizer = shampoo({ frequency: 2, stagger: 1 });
    const { program } = training(optimizer, bowl);
    const state = begin(optimizer, params());
    const dispatches = (refresh: Refresh) => {
      program(begin(optimizer, params()), refresh);
      const { kernels } = program.statistics();
      return { count: kernels.length, eigen: kernels.filter(({ label }) => label.includes("jacobi")).length };
    };
    const [plain, refreshing] = [dispatches(false), dispatches(true)];
    expect(plain.eigen).toBe(0);
    expect(refreshing.eigen).toBeGreaterThan(0);
    expect(refreshing.count).toBeGreaterThan(plain.count);
    const planned = training(optimizer, bowl).run(state, 0, 6);
    let always = begin(optimizer, params());
    const all = training(optimizer, bowl);
    for (let step = 0; step < 6; step++) always = all.program(always, "start");
    const [a, b] = [(await numbers(planned.params)).flat(), (await numbers(always.params)).flat()];
    a.forEach((value, index) => {
      // The programs round otherwise, and roots of small eigenvalues enlarge that.
      expect(Math.abs(value - (b[index] as number))).toBeLessThan(1e-4);
    });
  });

  it("refuses turns that do not fit", () => {
    expect(() => shampoo({ frequency: 10, stagger: 3 })).toThrow("Give a frequency that stagger divides");
    expect(() =>
      scaleByShampoo({ beta1: 0, beta2: 1, epsilon: 1e-6, inverse: "newton", exponentMultiplier: 1.5 }).update(
        { x: normal(key(1), [4]) },
        scaleByShampoo({ beta1: 0, beta2: 1, epsilon: 1e-6 }).init({ x: normal(key(1), [4]) }),
        { x: normal(key(1), [4]) },
      ),
    ).toThrow("Newton's method takes whole roots");
  });
});

describe("SOAP", () => {
  it("is Adam where nothing is rotated, one step later", async () => {
    const shared = { learningRate: 0.05, beta1: 0.9, beta2: 0.99, weightDecay: 0 };
    const unrotated = soap({ ...shared, maxDim: 1 });
    const reference = adam(shared);
    const a = training(unrotated, bowl).run(begin(unrotated, params()), 0, 6).params;
    const b = training(reference, bowl).run(begin(reference, params()), 0, 5).params;
    const [x, y] = [(await numbers(a)).flat(), (await numbers(b)).flat()];
    x.forEach((value, index) => {
      expect(Math.abs(value - (y[index] as number))).toBeLessThan(2e-6);
    });
  });

  it.each([
    ["rows", "start without gradient", iota([20, 1], 0).greaterEqual(4).cast("f32")],
    ["gradients", "have rank 1 at first", undefined],
  ])("keeps orthonormal bases where %s %s, and moves in all directions later", async (_, __, rows) => {
    const optimizer = soap({ frequency: 2, learningRate: 0.01, weightDecay: 0 });
    const full = (step: number) => normal(key(step), [20, 12]);
    const poor = (step: number) => (rows ? full(step).mul(rows) : normal(key(1), [20, 1]).mul(normal(key(2), [1, 12])));
    const from = { x: normal(key(9), [20, 12]) };
    let own = begin(optimizer, from);
    const update = compile(
      ({ params, optimizer: state }: typeof own, x: Tensor, refresh: Refresh) => {
        const [updates, next] = optimizer.update({ x }, state, params, { refresh });
        return { params: applyUpdates(params, updates), optimizer: next };
      },
      { donate: [0] },
    );
    for (let step = 0; step < 13; step++) {
      own = update(own, step < 5 ? poor(step) : full(step), optimizer.refreshesAt(step));
      const [scaling] = own.optimizer.buffers as unknown as [
        { readonly rotations: readonly { readonly bases: readonly Tensor[] }[] },
      ];
      for (const q of scaling.rotations[0]?.bases ?? []) {
        const n = q.shape.at(-1) as number;
        const identity = iota([n, n], 0)
          .equal(iota([n, n], 1))
          .cast("f32");
        expect(await q.transpose().matmul(q).sub(identity).abs().max().item()).toBeLessThan(1e-4);
      }
    }
    const moves = await own.params.x.sub(from.x).abs().max({ axis: 1 }).data();
    // Eight steps of about the rate, in directions of their own.
    expect(Math.min(...moves)).toBeGreaterThan(0.015);
  });

  it("has QR decompositions only where bases are refreshed, and eigenvectors only at the start", () => {
    const optimizer = soap({ frequency: 3 });
    expect([0, 1, 2, 3, 4, 6].map((step) => optimizer.refreshesAt(step))).toEqual([
      "start",
      false,
      false,
      true,
      false,
      true,
    ]);
    const { program } = training(optimizer, bowl);
    const labels = (refresh: Refresh) => {
      program(begin(optimizer, params()), refresh);
      return program.statistics().kernels.map(({ label }) => label);
    };
    const has = (refresh: Refresh, part: string) => labels(refresh).some((label) => label.includes(part));
    expect([has(false, "jacobi"), has(false, "factor_blocks")]).toEqual([false, false]);
    expect([has(true, "jacobi"), has(true, "factor_blocks")]).toEqual([false, true]);
    expect(has("start", "jacobi")).toBe(true);
  });
});

describe("Muon", () => {
  it("makes matrices whose singular values are near 1", async () => {
    // Twice as many rows as columns, so that no singular value is near 0.
    for (const [rows, columns] of [
      [256, 128],
      [64, 32],
      [48, 24],
    ] as const) {
      const rule = scaleByMuon({ momentum: 0, nesterov: false });
      const x = { matrix: normal(key(rows), [rows, columns]) };
      const [{ matrix }] = rule.update(x, rule.init(x), x);
      const values = await linalg.eigh(matrix.transpose().matmul(matrix)).values.data();
      const singular = Array.from(values, Math.sqrt);
      expect(Math.min(...singular)).toBeGreaterThan(0.6);
      expect(Math.max(...singular)).toBeLessThan(1.25);
    }
  });

  it("leaves embeddings, heads and vectors to AdamW, by the roles that a model gives", async () => {
    const own = {
      table: normal(key(1), [8, 4]),
      hidden: { kernel: normal(key(2), [4, 4]) },
      last: normal(key(3), [4, 2]),
    };
    const roles = { table: "embedding", hidden: { kernel: "weight" }, last: "head" };
    const optimizer = muon({ matrices: withRoles(roles, ({ role }) => role === "weight") });
    const size = (state: OptimizerState) => treeLeaves<Tensor>(state.buffers).reduce((sum, { size }) => sum + size, 0);
    // One buffer for the hidden matrix, two for the others.
    expect(size(optimizer.init(own))).toBe(16 + 2 * (32 + 8));
    expect(size(muon().init(own))).toBe(16 + 8 + 2 * 32);
    expect(() => withRoles({ table: "embedding" }, () => true)({ path: ["x"], shape: [1], role: "bias" })).toThrow(
      "there is no role for x",
    );
  });

  it("names parameters that are no matrices", () => {
    expect(() => scaleByMuon({ momentum: 0.9 }).init({ bias: normal(key(1), [4]) })).toThrow(
      "a parameter of shape [4] is no matrix. Leave it to another rule",
    );
  });
});

describe("L-BFGS", () => {
  it("finds the bottom of a bowl in a few steps", async () => {
    const optimizer = lbfgs({ history: 5 });
    const start = { x: normal(key(1), [6]) };
    const loss = ({ x }: { readonly x: Tensor }) =>
      x
        .square()
        .mul(iota([6], 0, "f32").add(1))
        .sum();
    const { params: end } = training(optimizer, loss).run(begin(optimizer, start), 0, 25);
    expect(await loss(end).item()).toBeLessThan(1e-8);
  });

  it("moves no farther than maxStep", async () => {
    // After a first step of at most 1, the second one would go the whole rest of the way, 4 and more.
    const loss = ({ x }: { readonly x: Tensor }) => x.square().sum().mul(0.5);
    const lengths = async (maxStep: number) => {
      const optimizer = lbfgs({ maxStep });
      const { run } = training(optimizer, loss);
      let state = begin(optimizer, { x: tensor([3, 4]) });
      let before = [3, 4];
      const found: number[] = [];
      for (let step = 0; step < 3; step++) {
        state = run(state, step, step + 1);
        const after = [...(await state.params.x.data())];
        found.push(Math.hypot(...after.map((x, index) => x - (before[index] as number))));
        before = after;
      }
      return found;
    };
    const [, free] = await lengths(0);
    expect(free).toBeGreaterThan(1);
    for (const length of await lengths(0.5)) expect(length).toBeLessThanOrEqual(0.5 * (1 + 2 ** -20));
  });
});
