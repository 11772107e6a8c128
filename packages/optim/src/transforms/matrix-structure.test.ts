import { eye, key, normal, type Tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matrixStructure, singdStructures } from "./matrix-structure";

const valuesOf = (x: Tensor): number[] => Array.from(evaluateReference([x])[0]?.values ?? []);

const distance = (a: Tensor, b: Tensor): number => Math.hypot(...valuesOf(a.sub(b)));

const sizes = fc.record({ n: fc.integer({ min: 1, max: 9 }), blockSize: fc.integer({ min: 1, max: 4 }) });

describe.each(singdStructures)("%s matrices", (name) => {
  const forAll = (check: (structure: ReturnType<typeof matrixStructure>, random: (seed: number) => Tensor) => void) =>
    fc.assert(
      fc.property(sizes, ({ n, blockSize }) => {
        const random = (seed: number) => normal(key(seed), [2, n, n]);
        check(matrixStructure(name, blockSize, n), random);
      }),
      { numRuns: 12 },
    );

  it("contain the identity", () => {
    forAll(({ pack, unpack }, random) => {
      const identity = eye(random(0).shape[1] as number).expand(random(0).shape);
      expect(distance(unpack(pack(identity)), identity)).toBeLessThan(1e-12);
    });
  });

  it("are closed under products, and nothing is lost in packing", () => {
    forAll(({ pack, unpack }, random) => {
      const [a, b] = [1, 2].map((seed) => unpack(pack(random(seed)))) as [Tensor, Tensor];
      expect(distance(unpack(pack(a)), a)).toBeLessThan(1e-12);
      const product = a.matmul(b);
      expect(distance(unpack(pack(product)), product)).toBeLessThan(1e-10);
    });
  });

  it("project a symmetric matrix so that what is left is orthogonal to all of the structure", () => {
    forAll(({ pack, unpack, project }, random) => {
      const symmetric = (x: Tensor) => x.add(x.transpose()).mul(0.5);
      const m = symmetric(random(3));
      const left = m.sub(symmetric(unpack(project(m))));
      for (const seed of [4, 5]) {
        const direction = symmetric(unpack(pack(random(seed))));
        const along = valuesOf(left.mul(direction).sum({ axis: [1, 2] }));
        expect(Math.max(...along.map(Math.abs))).toBeLessThan(1e-10);
      }
    });
  });
});
