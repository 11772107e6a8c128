import {
  type CatalogueEntry,
  catalogue,
  type HyperparameterSpec,
  type OptimizerRecord,
  optimizers,
  type Preset,
  presets,
  type SearchSpace,
} from "@thalweg/optim";
import { parameterCount, problems } from "@thalweg/workloads";
import type { Command } from "commander";
import { UsageError } from "../../errors";
import { formatCount } from "../../report/format";
import { findOptimizer } from "../../run/optimizer";
import { parseChoice } from "../parse";
import type { CommandContext } from "./context";

const topics = ["workloads", "optimizers", "catalogue"] as const;
type Topic = (typeof topics)[number];

/** `thalweg list`: what can be raced, from the registries. */
export function addListCommand(program: Command, { terminal }: CommandContext): void {
  program
    .command("list")
    .description("List workloads, optimizers, or all published optimizers that we know of.")
    .argument("[topic]", topics.join(", "), (text: string) =>
      parseChoice(text, topics, "topic", `Use ${topics.join(", ")}, or none for workloads and optimizers.`),
    )
    .argument("[name]", "an optimizer, to see its hyperparameters: thalweg list optimizers adamw")
    .option("--json", "write the list as one JSON document on stdout")
    .action((topic: Topic | undefined, name: string | undefined, { json = false }: { readonly json?: boolean }) => {
      const { content, text } = name === undefined ? listing(topic) : details(topic, name);
      terminal.out(json ? `${JSON.stringify(content, null, 2)}\n` : `${text}\n`);
    });
}

interface Listing {
  readonly content: unknown;
  readonly text: string;
}

function listing(topic: Topic | undefined): Listing {
  if (topic === "catalogue") return { content: { catalogue }, text: formatCatalogue(catalogue) };
  const wanted = topic === undefined ? ["workloads", "optimizers"] : [topic];
  const rows = Object.values(optimizers).map(describeOptimizer);
  const content = {
    ...(wanted.includes("workloads") ? { workloads: workloadRows() } : {}),
    ...(wanted.includes("optimizers") ? { optimizers: rows } : {}),
  };
  const sections = [
    ...(content.workloads === undefined ? [] : [`workloads\n${content.workloads.map(formatWorkload).join("\n")}`]),
    ...(content.optimizers === undefined ? [] : formatOptimizers(content.optimizers)),
  ];
  return { content, text: sections.join("\n\n") };
}

function details(topic: Topic | undefined, name: string): Listing {
  if (topic !== "optimizers") {
    throw new UsageError(`"${name}": only optimizers have a list of their own. Write thalweg list optimizers <name>.`);
  }
  const optimizer = describeOptimizer(findOptimizer(name));
  return { content: { optimizer }, text: formatDetails(optimizer) };
}

function workloadRows() {
  return Object.values(problems).map((problem) => ({
    name: problem.name,
    title: problem.title,
    version: problem.version,
    dataset: problem.dataset,
    parameters: parameterCount(problem),
    metric: problem.metric,
    ...problem.defaults,
  }));
}

/** All that the registry knows of an optimizer, as plain data. */
function describeOptimizer(record: OptimizerRecord) {
  const { name, title, source, year, family, tier, cost, factors, without, hyperparameters } = record;
  return {
    name,
    title,
    source,
    year,
    family,
    tier,
    buffers: record.buffers(),
    factors: factors ?? null,
    cost,
    needs: record.needs(),
    without,
    hyperparameters,
    presets: presetsOf(name),
  };
}

type OptimizerRow = ReturnType<typeof describeOptimizer>;

/** The presets of an optimizer, by their names in `presets`. */
function presetsOf(optimizer: string): Readonly<Record<string, Preset["options"]>> {
  const all = Object.entries(presets).flatMap(([group, own]) =>
    Object.entries(own as Readonly<Record<string, Preset>>).map(
      ([name, preset]) => [`${group}.${name}`, preset] as const,
    ),
  );
  return Object.fromEntries(
    all.flatMap(([name, preset]) => (preset.optimizer === optimizer ? [[name, preset.options]] : [])),
  );
}

function formatWorkload({
  name,
  title,
  parameters,
  batchSize,
  epochs,
}: ReturnType<typeof workloadRows>[number]): string {
  return `  ${name.padEnd(16)} ${title} (${formatCount(parameters)} parameters, batch ${batchSize}, ${epochs} epochs)`;
}

/** What the families are called. */
const families: Readonly<Record<OptimizerRow["family"], string>> = {
  gradient: "gradient descent",
  momentum: "momentum",
  adaptive: "adaptive rates",
  sign: "signs",
  layerwise: "scales of layers, and small memory",
  nonDiagonal: "whole matrices",
  averaging: "averages and neighbourhoods",
  rateFree: "without learning rate or schedule",
};

/** One section for each family. */
function formatOptimizers(rows: readonly OptimizerRow[]): string[] {
  return Object.entries(families).map(([family, title]) => {
    const own = rows.filter((row) => row.family === family);
    return `optimizers: ${title}\n${own.map(formatOptimizer).join("\n")}`;
  });
}

function formatOptimizer(row: OptimizerRow): string {
  const { name, title, source, year } = row;
  return `  ${name.padEnd(18)} ${title} (${source}, ${year})\n${" ".repeat(21)}${properties(row).join(", ")}`;
}

/** What it keeps, costs and wants, in words. */
function properties({ buffers, factors, cost, needs, without }: OptimizerRow): string[] {
  const names = { learningRate: "learning rate", schedule: "schedule" } as const;
  return [
    `${buffers} ${buffers === 1 ? "buffer" : "buffers"}${factors === null ? "" : ` and ${factors}`}`,
    ...(cost === "nothing" ? [] : [`cost: ${cost}`]),
    ...(needs.length === 0 ? [] : [`needs ${needs.join(", ")}`]),
    ...(without.length === 0 ? [] : [`no ${without.map((own) => names[own]).join(" and no ")} to set`]),
  ];
}

function formatDetails(row: OptimizerRow): string {
  const rows = Object.entries(row.hyperparameters).map(([name, spec]) => [
    name,
    String(spec.default),
    formatAllowed(spec),
    spec.tuning === undefined ? "" : formatSpace(spec.tuning),
    spec.description,
  ]);
  const header = ["hyperparameter", "default", "allowed", "tuned over", ""];
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((cells) => (cells[column] as string).length)));
  const lines = all.map((cells) =>
    `  ${cells.map((cell, column) => cell.padEnd(widths[column] as number)).join("  ")}`.trimEnd(),
  );
  const own = Object.entries(row.presets).map(([name, options]) => `  presets.${name}: ${formatOptions(options)}`);
  return [
    `${row.name}: ${row.title}`,
    `  ${row.source}, ${row.year}`,
    `  ${properties(row).join(", ")}`,
    "",
    ...lines,
    ...(own.length === 0 ? [] : ["", ...own]),
  ].join("\n");
}

function formatOptions(options: Preset["options"]): string {
  const parts = Object.entries(options).map(([name, value]) => `${name} ${String(value)}`);
  return parts.join(", ") || "the defaults";
}

/** The values that a hyperparameter may have: `[0, 1)`, `true or false`, the choices. */
function formatAllowed(spec: HyperparameterSpec): string {
  switch (spec.type) {
    case "boolean":
      return "true or false";
    case "choice":
      return spec.choices.join(", ");
    case "integer":
      return `${spec.min ?? "any"}, ${spec.min === undefined ? "" : `${spec.min + 1}, `}…`;
    case "float": {
      const { min, max, open } = spec;
      const left = min === undefined || open === "min" || open === "both" ? "(" : "[";
      const right = max === undefined || open === "max" || open === "both" ? ")" : "]";
      return `${left}${min ?? "-∞"}, ${max ?? "∞"}${right}${spec.schedulable ? " or a schedule" : ""}`;
    }
  }
}

/** `log 0.0001 … 1`, `1 - log 0.0001 … 1`. */
function formatSpace({ distribution, low, high, complement }: SearchSpace): string {
  return `${complement ? "1 - " : ""}${distribution === "logUniform" ? "log " : ""}${low} … ${high}`;
}

function formatCatalogue(entries: readonly CatalogueEntry[]): string {
  const width = Math.max(...entries.map(({ name }) => name.length));
  const rows = entries.map(
    ({ name, source, year, status, optimizer, loop }) =>
      `  ${name.padEnd(width)}  ${year}  ${(optimizer ?? (loop && `${loop}()`) ?? status).padEnd(18)}  ${source}`,
  );
  const count = (status: CatalogueEntry["status"]) => entries.filter((entry) => entry.status === status).length;
  const total = `${entries.length} published optimizers: ${count("implemented")} implemented, ${count("planned")} planned, ${count("none")} not here`;
  return [...rows, "", total].join("\n");
}
