import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { optimizers } from "@thalweg/optim";
import { describe, expect, it } from "vitest";
import { hyperparameterTables, overviewTable, pages, recordsOf } from "../bench/optimizer-tables";

const folder = join(import.meta.dirname, "../../../docs/optimizers");

/** What stands between the markers of a part. */
const part = (page: string, name: string): string => {
  const text = readFileSync(join(folder, `${page}.md`), "utf8");
  return (text.split(`<!-- ${name} -->`)[1]?.split(`<!-- /${name} -->`)[0] ?? "").trim();
};

describe.each(Object.keys(pages))("docs/optimizers/%s.md", (page) => {
  it("has the tables of the registry; if not, npm run docs:optimizers -- --tables writes them", () => {
    expect(part(page, "overview")).toBe(overviewTable(page));
    expect(part(page, "hyperparameters")).toBe(hyperparameterTables(page));
  });

  it("has a picture with every optimizer of the page", () => {
    const path = join(folder, "paths", `${page}.svg`);
    expect(existsSync(path)).toBe(true);
    const svg = readFileSync(path, "utf8");
    for (const { name } of recordsOf(page)) expect(svg).toContain(`>${name}</text>`);
  });
});

it("every optimizer is on one page", () => {
  const names = Object.keys(pages).flatMap((page) => recordsOf(page).map(({ name }) => name));
  expect(names.toSorted()).toEqual(Object.keys(optimizers).toSorted());
});
