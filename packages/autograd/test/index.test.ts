import { expect, it } from "vitest";
import * as autograd from "../src/index";

it("exports these names", () => {
  expect(Object.keys(autograd).sort()).toMatchInlineSnapshot(`
    [
      "checkpoint",
      "customRule",
      "grad",
      "hessian",
      "hvp",
      "jacobian",
      "jvp",
      "linearize",
      "stopGradient",
      "valueAndGrad",
      "vjp",
      "vmap",
    ]
  `);
});
