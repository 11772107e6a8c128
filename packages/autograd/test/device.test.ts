import { describe, it } from "vitest";
import { checkOnDevice } from "./device-cases";
import { cases } from "./functions";

describe("on the device", () => {
  it.each(cases)("$name: derivatives are those of the float64 reference", checkOnDevice);
});
