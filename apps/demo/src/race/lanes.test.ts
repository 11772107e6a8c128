import { readFileSync } from "node:fs";
import { darkTheme, lightTheme, parseRecords, type RunRecord } from "@thalweg/bench";
import { describe, expect, it } from "vitest";
import { describeCatalogue } from "../worker/catalogue";
import { type ChartModel, chartsOf, labelOf } from "./chart-model";
import { chartSvg } from "./chart-svg";
import { lanesOf, raceOf } from "./lanes";
import { reportFigure } from "./report-figure";
import { defaultSettings, requestOf } from "./settings";

const catalogue = describeCatalogue();
const entry = catalogue.workloads.find(({ name }) => name === "digits")!;
const request = requestOf(defaultSettings("digits"), entry);
const recorded = parseRecords(
  readFileSync(new URL("../../public/recorded/digits.jsonl", import.meta.url)),
  "digits.jsonl",
);
const records = recorded.records;
const race = raceOf(records[0]!.header.configuration);
const sources = { race, request, isOwn: true, own: [], live: undefined, imported: [], catalogue };

/** The same runs, as if another machine had made them. */
const elsewhere = records.map((record): RunRecord => {
  const environment = { ...record.header.environment, runtime: "chrome 200.1.2" };
  return { ...record, header: { ...record.header, environment } };
});

describe("the recorded runs", () => {
  it("are records without a problem, of the standard race, and reach its target", () => {
    expect(recorded.problems).toEqual([]);
    expect(race).toMatchObject({ workload: "digits", target: { phase: "test", metric: "accuracy", value: 0.95 } });
    expect(records.map(({ end }) => end?.status)).toEqual(records.map(() => "reached"));
    expect(new Set(records.map(({ header }) => header.configuration.optimizer)).size).toBe(4);
  });
});

describe("lanes", () => {
  it("are there before any run, in the order of entry", () => {
    const lanes = lanesOf(sources);
    expect(lanes.map(labelOf)).toEqual([
      "sgd, learning rate 0.4",
      "momentum, learning rate 0.04",
      "adam, learning rate 0.01",
      "adamw, learning rate 0.01",
    ]);
    expect(lanes.map(({ color }) => color)).toEqual([0, 1, 2, 3]);
  });

  it("take the runs of this page whose settings they have", () => {
    const lanes = lanesOf({ ...sources, own: records });
    expect(lanes.map(({ records: own }) => own.length)).toEqual([3, 3, 3, 3]);
    expect(lanes.every(({ isOwn, environment }) => isOwn && environment === "")).toBe(true);
  });

  it("of other environments keep the colour, and get a pattern and their environment's name", () => {
    const lanes = lanesOf({ ...sources, own: records, imported: elsewhere });
    expect(lanes).toHaveLength(8);
    expect(
      lanes
        .slice(4)
        .map(({ optimizer }) => optimizer)
        .sort(),
    ).toEqual(["adam", "adamw", "momentum", "sgd"]);
    for (const lane of lanes.slice(4)) {
      expect(lane.dash).toBe(1);
      expect(labelOf(lane)).toMatch(/ \(chrome 200\)$/);
      expect(lane.color).toBe(lanes.slice(0, 4).find(({ optimizer }) => optimizer === lane.optimizer)?.color);
    }
  });

  it("name the adapter where two environments have one runtime", () => {
    const twice = elsewhere.map((record, index): RunRecord => {
      const adapter = { description: index % 2 === 0 ? "one" : "two", fallback: false };
      return { ...record, header: { ...record.header, environment: { ...record.header.environment, adapter } } };
    });
    const names = new Set(lanesOf({ ...sources, imported: twice }).map(({ environment }) => environment));
    expect(names).toEqual(new Set(["this page", "chrome 200 on one", "chrome 200 on two"]));
  });

  it("of a race of another page alone are solid, and have the colours of the entrants", () => {
    const lanes = lanesOf({ ...sources, isOwn: false, imported: records });
    expect(lanes.map(({ optimizer, color, dash }) => [optimizer, color, dash]).sort()).toEqual([
      ["adam", 2, 0],
      ["adamw", 3, 0],
      ["momentum", 1, 0],
      ["sgd", 0, 0],
    ]);
  });

  it("leave runs of other races out", () => {
    const other = records.map((record): RunRecord => {
      const configuration = { ...record.header.configuration, target: null };
      return { ...record, header: { ...record.header, configuration } };
    });
    expect(lanesOf({ ...sources, imported: other })).toHaveLength(4);
  });
});

describe("charts", () => {
  const charts = chartsOf(race, lanesOf({ ...sources, own: records }));

  it("are accuracy and loss, against time and against steps", () => {
    expect(charts.map(({ id }) => id)).toEqual(["accuracy-seconds", "accuracy-steps", "loss-seconds", "loss-steps"]);
  });

  it("have a line for each run with the record's numbers, and a median for each lane", () => {
    const chart = charts[1] as ChartModel;
    expect(chart.lines.filter(({ kind }) => kind === "run")).toHaveLength(12);
    expect(chart.lines.filter(({ kind }) => kind === "median")).toHaveLength(4);
    const [record] = records as [RunRecord];
    const { optimizer, seed } = record.header.configuration;
    const line = chart.lines.find(({ label }) => label.startsWith(`${optimizer},`) && label.endsWith(`seed ${seed}`));
    expect(line?.points).toEqual(record.evaluations.map(({ step, phases }) => ({ x: step, y: phases.test?.accuracy })));
    expect(chart.target).toBe(0.95);
  });

  it("do not let a run that diverged flatten the others", () => {
    const diverging = records.map((record): RunRecord => {
      const evaluations = record.evaluations.map((line, index) => {
        const test = { loss: 2.3 * 10 ** (3 * index), dataLoss: 1, accuracy: 0.1 };
        return { ...line, phases: { test } };
      });
      return { ...record, evaluations };
    });
    const loss = chartsOf(race, lanesOf({ ...sources, own: diverging }))[2] as ChartModel;
    expect(loss.yRange[1]).toBeLessThan(3);
  });

  it.each([lightTheme, darkTheme])(
    "are written as SVG: complete, with a legend, and without a missing number",
    (theme) => {
      for (const chart of charts) {
        const svg = chartSvg(chart, theme);
        expect(svg).not.toMatch(/NaN|Infinity|undefined/);
        expect(svg.match(/<path /g)).toHaveLength(chart.lines.length);
        expect(svg).toContain(`fill="${theme.background}"`);
        for (const label of ["sgd, learning rate 0.4", "adamw, learning rate 0.01"])
          expect(svg).toContain(`>${label}</text>`);
      }
    },
  );
});

describe("the whole figure", () => {
  it("tells runs of this browser from those of Node", () => {
    const svg = reportFigure([...records, ...elsewhere], lightTheme);
    expect(svg).toContain("adam in node");
    expect(svg).toContain("adam in chrome");
    expect(svg).not.toMatch(/NaN|undefined/);
  });
});

describe("the style sheet", () => {
  it("has the colours of reports", () => {
    const style = readFileSync(new URL("../style.css", import.meta.url), "utf8");
    const found = [...style.matchAll(/--series-(\d): light-dark\((#\w+), (#\w+)\)/g)];
    expect(found.map(([, , light]) => light)).toEqual(lightTheme.series);
    expect(found.map(([, , , dark]) => dark)).toEqual(darkTheme.series);
  });
});
