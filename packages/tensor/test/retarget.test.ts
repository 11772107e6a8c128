import { expect, it } from "vitest";
import { compileTarget } from "../src/compiler/target";
import { arange, compile, type Tensor } from "../src/index";
import { retarget } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();

it("programs are compiled for the target that tests choose, and compute the same", async () => {
  const own = compileTarget(device());
  const x = arange(2 ** 12);
  const dispatches = async () => {
    const total = compile((values: Tensor) => values.sum());
    await total.prepare(x);
    return total.statistics().dispatches;
  };
  try {
    retarget(device(), { isSoftware: false, invocations: 1 });
    const few = await dispatches();
    expect(await x.mul(2).sum().item()).toBe(2 ** 12 * (2 ** 12 - 1));
    retarget(device(), { isSoftware: false, invocations: 2 ** 20 });
    expect(await dispatches()).toBeGreaterThanOrEqual(few);
    // Evaluated again under another target, the same graph is planned again.
    expect(await x.mul(2).sum().item()).toBe(2 ** 12 * (2 ** 12 - 1));
  } finally {
    retarget(device(), undefined);
  }
  expect(compileTarget(device())).toEqual(own);
});
