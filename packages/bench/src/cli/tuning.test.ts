import { expect, it } from "vitest";
import { describeTuning } from "./tuning";

const variant = { kind: "registers", rows: 8 };

it("says nothing where nothing was measured", () => {
  expect(describeTuning([])).toEqual([]);
});

it("says what was gained, and names every variant that did not work", () => {
  const report = (speedup: number) => ({ key: "k", label: "dot_8x8x8", candidates: [], chosen: variant, speedup });
  const broken = {
    ...report(3),
    candidates: [
      { variant, nanoseconds: 10, outcome: "measured" as const },
      { variant: { rows: 1 }, nanoseconds: null, outcome: "wrong" as const, reason: "element 3 is 1 and not 2" },
      { variant: { rows: 2 }, nanoseconds: null, outcome: "slow" as const },
    ],
  };
  expect(describeTuning([report(1), broken, report(1.25)])).toEqual([
    "tuned 3 classes of kernels: the median one runs 1.25 times as fast as before, the best 3.00 times",
    'tuning dot_8x8x8: left out {"rows":1}, which computes something else (element 3 is 1 and not 2)',
  ]);
});
