import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Configuration,
  configurationOf,
  leastSteps,
  mostRunners,
  mostSteps,
  parseQuery,
  queryOf,
} from "./configuration";
import { ownProblem, problems } from "./problems";

const number = (min: number, max: number) =>
  fc.double({ min, max, noNaN: true }).map((value) => Number(value.toPrecision(6)) + 0);

const names = fc.stringMatching(/^[a-z][a-zA-Z0-9]{0,12}$/);
const runner = fc.record({
  optimizer: names,
  options: fc.dictionary(names, fc.oneof(number(-10, 10), fc.boolean(), fc.constantFrom("matrices", "all"))),
});
const configurations: fc.Arbitrary<Configuration> = fc
  .record({
    problem: fc.constantFrom(...[...problems, ownProblem].map(({ id }) => id)),
    formula: fc.string(),
    left: number(-10, 10),
    bottom: number(-10, 10),
    size: number(0.1, 10),
    start: fc.record({ x: number(-10, 10), y: number(-10, 10) }),
    steps: fc.integer({ min: leastSteps / 100, max: mostSteps / 100 }).map((hundreds) => 100 * hundreds),
    noise: number(0, 10),
    seed: fc.nat(),
    scale: fc.constantFrom(undefined, "even" as const, "logarithmic" as const),
    runners: fc.array(runner, { minLength: 1, maxLength: mostRunners }),
  })
  .map(({ left, bottom, size, formula, noise, seed, scale, ...others }) => ({
    ...others,
    formula: others.problem === ownProblem.id ? formula : problems.find(({ id }) => id === others.problem)!.formula,
    domain: {
      left,
      right: Number((left + size).toPrecision(7)),
      bottom,
      top: Number((bottom + size).toPrecision(7)),
    },
    noise,
    seed: noise > 0 ? seed : 0,
    ...(scale && { scale }),
  }));

describe("a link", () => {
  it("says the whole configuration", () => {
    fc.assert(
      fc.property(configurations, (configuration) => {
        const query = queryOf(configuration);
        expect(query).not.toMatch(/[\s#]/);
        expect(parseQuery(query)).toEqual(configuration);
      }),
    );
  });

  it("that says nothing is the first problem as it is", () => {
    expect(parseQuery("")).toEqual(configurationOf(problems[0]!));
  });

  it("that makes no sense says what it can", () => {
    const base = configurationOf(problems[1]!);
    expect(parseQuery("problem=beale&map=1,2,3&start=a,2&steps=1e9&noise=-3&seed=x&heights=flat&run")).toEqual({
      ...base,
      steps: mostSteps,
      runners: [{ optimizer: "", options: {} }],
    });
    expect(parseQuery("problem=beale&map=5,1,0,1&start=1,Infinity")).toEqual(base);
  });

  it("can be read by people", () => {
    expect(queryOf(configurationOf(problems[0]!))).toBe(
      "problem=rosenbrock&map=-2,2,-1,3&start=-0.5,1.5&steps=400&run=sgd,learningRate:0.002" +
        "&run=momentum,learningRate:0.001&run=nesterov,learningRate:0.001&run=adam,learningRate:0.5",
    );
  });
});
