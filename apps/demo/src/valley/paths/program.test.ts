import { optimizers } from "@thalweg/optim";
import { type Device, init } from "@thalweg/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileJet, jetX, jetY } from "../formula/jet";
import { parseFormula } from "../formula/parse";
import type { Options } from "../optimizers";
import { ownProblem, problemOf, problems } from "../problems";
import { canRun, compilePath, type Noise, type PathProgram, stepsPerCall, structureOf } from "./program";
import { Programs, runPath } from "./runs";

let device: Device;
beforeAll(async () => {
  device = await init({ notice: () => {} });
});
afterAll(() => device.idle());

const { formula, start } = problemOf("rosenbrock");
const rosenbrock = parseFormula(formula);
const from = [start.x, start.y] as const;
const still: Noise = { deviation: 0, seed: 0 };

async function firstPart(program: PathProgram, options: Options, noise = still): Promise<Float32Array> {
  const path = program.path(options, from, noise);
  const { value } = await path.next();
  await path.return(undefined as never);
  return value;
}

const recordOf = (name: string) => optimizers[name]!;

describe("a path", () => {
  it("of SGD is, step by step, that of float64", async () => {
    const learningRate = Math.fround(1e-3);
    const program = compilePath(rosenbrock, recordOf("sgd"), { learningRate }, device);
    const points = [...from, ...(await firstPart(program, { learningRate }))];
    program.dispose();
    const jet = compileJet(rosenbrock);
    const roundoff = 2 ** -24;
    for (let step = 0; step < stepsPerCall; step++) {
      const [x, y] = points.slice(2 * step) as [number, number];
      const now = jet(x, y);
      const exact = [x - learningRate * now[jetX]!, y - learningRate * now[jetY]!];
      // A dozen operations, each of which rounds; y - x² cancels, so its terms count in full.
      const terms = Math.abs(y) + x * x;
      const gradients = [2 * (1 + Math.abs(x)) + 400 * Math.abs(x) * terms, 200 * terms];
      for (const axis of [0, 1]) {
        const allowed = 12 * roundoff * (learningRate * gradients[axis]! + Math.abs(exact[axis]!));
        expect(Math.abs(points[2 * (step + 1) + axis]! - exact[axis]!)).toBeLessThanOrEqual(allowed);
      }
    }
  });

  it("of another value of a hyperparameter needs no other program", async () => {
    const programs = new Programs(device);
    const find = (options: Options) =>
      programs.find(rosenbrock, recordOf("momentum"), { optimizer: "momentum", options });
    const program = find({ learningRate: 1e-3 });
    expect(find({ learningRate: 5e-4, momentum: 0.5 })).toBe(program);
    // Without its factor a weight decay is left out of the program.
    expect(find({ learningRate: 5e-4, weightDecay: 0.1 })).not.toBe(program);
    expect(programs.size).toBe(2);
  });

  it.each(["momentum", "adam", "rmsprop", "sophia", "prodigy", "scheduleFreeAdamw"])(
    "of %s with all its numbers changed is that of a program made for them",
    async (name) => {
      const record = recordOf(name);
      const made = { learningRate: 0.01 };
      const changed = { ...made, ...otherNumbers(name) };
      expect(Object.keys(changed).length).toBeGreaterThan(1);
      expect(structureOf(record, changed)).toBe(structureOf(record, made));
      const reused = compilePath(rosenbrock, record, made, device);
      const own = compilePath(rosenbrock, record, changed, device);
      const before = await firstPart(reused, made);
      const after = await firstPart(reused, changed);
      expect([...after]).toEqual([...(await firstPart(own, changed))]);
      expect([...after]).not.toEqual([...before]);
      reused.dispose();
      own.dispose();
    },
  );

  it("of a number that is compiled in, such as Prodigy's first distance, has a program of its own", () => {
    const structure = (initialDistance: number) => structureOf(recordOf("prodigy"), { initialDistance });
    expect(structure(1e-6)).not.toBe(structure(1e-5));
  });

  it("goes on where the call before ended", async () => {
    const course = { formula: rosenbrock, start, steps: 300, noise: still };
    const runner = { optimizer: "adam", options: { learningRate: 0.05 } };
    const parts: { points: Float32Array; isComplete: boolean }[] = [];
    for await (const part of runPath(new Programs(device), recordOf("adam"), runner, course)) parts.push(part);
    expect(parts.map(({ points, isComplete }) => [points.length, isComplete])).toEqual([
      [202, false],
      [402, false],
      [602, true],
    ]);
    const whole = [...parts[2]!.points];
    expect(whole.slice(0, 2)).toEqual([...from]);
    expect(whole.slice(0, 202)).toEqual([...parts[0]!.points]);
    // The step over the seam is as long as its neighbours.
    const length = (step: number) =>
      Math.hypot(whole[2 * step + 2]! - whole[2 * step]!, whole[2 * step + 3]! - whole[2 * step + 1]!);
    expect(length(100)).toBeLessThan(2 * Math.max(length(99), length(101)) + 1e-6);
  });

  it("with noise is the same for the same seed, another for another, and spread as it says", async () => {
    const rate = { learningRate: 1 };
    // On a plane the steps are the slope and nothing but noise beside it.
    const program = compilePath(parseFormula("0 x + 0 y + 1"), recordOf("sgd"), rate, device);
    const noisy = (seed: number) => firstPart(program, rate, { deviation: 0.5, seed });
    const [first, again, other] = [await noisy(1), await noisy(1), await noisy(2)];
    program.dispose();
    expect([...again]).toEqual([...first]);
    expect([...other]).not.toEqual([...first]);
    const points = [...from, ...first];
    const steps = Array.from({ length: 2 * stepsPerCall }, (_, index) => points[index + 2]! - points[index]!);
    const deviation = Math.sqrt(steps.reduce((sum, step) => sum + step * step, 0) / steps.length);
    // 200 draws: their deviation varies by a twentieth.
    expect(deviation).toBeGreaterThan(0.4);
    expect(deviation).toBeLessThan(0.6);
  });
});

describe("the ends for many learning rates", () => {
  it("are those of the single paths", async () => {
    const record = recordOf("adam");
    const rates = [1e-4, 0.01, 0.1, 1];
    const program = compilePath(rosenbrock, record, {}, device);
    const ends = await program.ends(
      rates.map((learningRate) => ({ learningRate })),
      from,
      still,
      2,
    );
    for (const [index, learningRate] of rates.entries()) {
      const path = program.path({ learningRate }, from, still);
      await path.next();
      const { value } = await path.next();
      await path.return(undefined as never);
      // The batch is other kernels: sums may be rounded otherwise, and steps carry that on.
      expect(Math.hypot(ends[2 * index]! - value.at(-2)!, ends[2 * index + 1]! - value.at(-1)!)).toBeLessThan(1e-3);
    }
    program.dispose();
  });
});

describe("optimizers", () => {
  it("that need layers are left out", () => {
    expect(Object.values(optimizers).filter(canRun).length).toBeGreaterThan(40);
    expect(canRun({ ...recordOf("sgd"), needs: () => ["loss", "kronecker"] })).toBe(false);
  });

  it("of the problems exist, with the hyperparameters that are set", () => {
    for (const { runners } of [...problems, ownProblem]) {
      for (const { optimizer, options } of runners) expect(() => recordOf(optimizer).create(options)).not.toThrow();
    }
  });
});

/** Other values for all numbers that the state holds. */
function otherNumbers(name: string): Options {
  const held = recordOf(name)
    .create()
    .rule.constants.map((own) => own.name);
  const specs = Object.entries(recordOf(name).hyperparameters).filter(([own]) => held.includes(own));
  return Object.fromEntries(
    specs.flatMap(([own, spec]) => (spec.type === "float" && spec.default > 0 ? [[own, spec.default * 0.9]] : [])),
  );
}
