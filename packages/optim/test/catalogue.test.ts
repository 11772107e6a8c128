import { describe, expect, it } from "vitest";
import { catalogue, hessianFree, optimizers } from "../src/index";

describe("the catalogue of published optimizers", () => {
  const named = catalogue.flatMap(({ optimizer }) => optimizer ?? []);

  it("has every optimizer once, and names no other", () => {
    expect([...named].sort()).toEqual(Object.keys(optimizers).sort());
  });

  it("names an optimizer, or a training loop of this package, exactly where it says implemented", () => {
    for (const { status, optimizer, loop } of catalogue) {
      expect([optimizer, loop].filter((name) => name !== undefined)).toHaveLength(status === "implemented" ? 1 : 0);
    }
    expect(catalogue.flatMap(({ loop }) => loop ?? [])).toEqual([hessianFree.name]);
  });

  it("has each name once, with source and a year that can be", () => {
    const names = catalogue.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, source, year } of catalogue) {
      expect(source, name).not.toBe("");
      expect(year, name).toBeGreaterThan(1950);
      expect(year, name).toBeLessThanOrEqual(2026);
    }
  });

  it("gives the paper's title for all that is planned", () => {
    const planned = catalogue.filter(({ status }) => status === "planned");
    expect(planned.filter(({ source }) => !/, \S.*\S/.test(source))).toEqual([]);
    const names = planned.map(({ name }) => name);
    for (const name of ["QHM", "AggMo", "AdamP", "Adai", "MARS", "PSGD", "CASPR"]) expect(names).toContain(name);
  });

  it("knows most of the study's methods, and all that the study ran", () => {
    const inStudy = catalogue.filter(({ isInStudy }) => isInStudy);
    expect(inStudy.length).toBe(142);
    const ran = ["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "amsgrad", "adabound"];
    const more = ["amsbound", "nadam", "radam", "adabelief", "lookaheadMomentum"];
    const implemented = inStudy.map(({ optimizer }) => optimizer);
    for (const name of [...ran, ...more]) expect(implemented).toContain(name);
  });
});
