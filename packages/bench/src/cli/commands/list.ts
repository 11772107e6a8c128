import { optimizers } from "@thalweg/optim";
import { parameterCount, problems } from "@thalweg/workloads";
import type { Command } from "commander";
import { formatCount } from "../../report/format";
import { parseChoice } from "../parse";
import type { CommandContext } from "./context";

const topics = ["workloads", "optimizers"] as const;

/** `thalweg list`: what can be raced, from the registries. */
export function addListCommand(program: Command, { terminal }: CommandContext): void {
  program
    .command("list")
    .description("List workloads and optimizers.")
    .argument("[topic]", topics.join(" or "), (text: string) =>
      parseChoice(text, topics, "topic", `Use ${topics.join(" or ")}, or neither for both.`),
    )
    .option("--json", "write the list as one JSON document on stdout")
    .action((topic: (typeof topics)[number] | undefined, { json = false }: { readonly json?: boolean }) => {
      const wanted = topic === undefined ? topics : [topic];
      const content = {
        ...(wanted.includes("workloads") ? { workloads: workloadRows() } : {}),
        ...(wanted.includes("optimizers") ? { optimizers: optimizerRows() } : {}),
      };
      if (json) {
        terminal.out(`${JSON.stringify(content, null, 2)}\n`);
        return;
      }
      const sections = [
        content.workloads && `workloads\n${content.workloads.map(formatWorkload).join("\n")}`,
        content.optimizers && `optimizers\n${content.optimizers.map(formatOptimizer).join("\n")}`,
      ];
      terminal.out(`${sections.filter((section) => section !== undefined).join("\n\n")}\n`);
    });
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

function optimizerRows() {
  return Object.values(optimizers).map(({ name, title, source, year, hyperparameters }) => ({
    name,
    title,
    source,
    year,
    hyperparameters: Object.fromEntries(Object.entries(hyperparameters).map(([key, spec]) => [key, spec.default])),
  }));
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

function formatOptimizer({
  name,
  title,
  source,
  year,
  hyperparameters,
}: ReturnType<typeof optimizerRows>[number]): string {
  const values = Object.entries(hyperparameters).map(([key, value]) => `${key} ${value}`);
  return `  ${name.padEnd(16)} ${title} (${source}, ${year})\n${" ".repeat(19)}${values.join(", ")}`;
}
