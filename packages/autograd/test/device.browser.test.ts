import { describe, expect, it } from "vitest";
import { checkOnDevice } from "./device-cases";
import { cases } from "./functions";

/** One of each kind of kernel: every pipeline takes its time to compile here. */
const chosen = [
  "a dilated convolution of padded input",
  "cross entropy of a linear classifier",
  "layer norm",
  "attention",
];

describe("in a browser", () => {
  const examples = cases.filter(({ name }) => chosen.includes(name));

  it("all chosen functions exist", () => expect(examples.length).toBe(chosen.length));

  it.each(examples)("$name: derivatives are those of the float64 reference", checkOnDevice);
});
