// The generated parts of docs/optimizers: tables from the registry.
import { type HyperparameterSpec, type OptimizerRecord, optimizers, presets } from "@thalweg/optim";
import { markdownTable } from "./report";

/** The families in the order of the documents, by the name of their page. */
export const pages: Readonly<
  Record<string, { readonly title: string; readonly families: readonly OptimizerRecord["family"][] }>
> = {
  "gradient-and-momentum": { title: "Gradient descent and momentum", families: ["gradient", "momentum"] },
  adaptive: { title: "Adaptive rates", families: ["adaptive"] },
  sign: { title: "Signs", families: ["sign"] },
  layerwise: { title: "Scales of layers, and small memory", families: ["layerwise"] },
  "non-diagonal": { title: "Whole matrices", families: ["nonDiagonal"] },
  averaging: { title: "Averages and neighbourhoods", families: ["averaging"] },
  "rate-free": { title: "Without learning rate or schedule", families: ["rateFree"] },
};

/** The optimizers of a page. */
export const recordsOf = (page: string): OptimizerRecord[] =>
  Object.values(optimizers).filter(({ family }) => pages[page]?.families.includes(family));

/** Name, paper, memory, cost and wants of every optimizer of a page. */
export function overviewTable(page: string): string {
  return markdownTable(
    ["optimizer", "paper", "buffers", "cost of a step", "needs", "need not be set"],
    recordsOf(page).map((record) => [
      `\`${record.name}\``,
      `${record.source}, ${record.year}`,
      `${record.buffers()}${record.factors === undefined ? "" : `, ${record.factors}`}`,
      record.cost,
      record.needs().join(", "),
      record.without.map((name) => (name === "learningRate" ? "learning rate" : name)).join(", "),
    ]),
  );
}

/** The hyperparameters of every optimizer of a page. */
export function hyperparameterTables(page: string): string {
  return recordsOf(page)
    .map((record) => {
      const rows = Object.entries(record.hyperparameters).map(([name, spec]) => [
        `\`${name}\``,
        String(spec.default),
        allowed(spec),
        spec.tuning === undefined ? "" : space(spec.tuning),
        spec.description,
      ]);
      const own = presetLines(record.name);
      const table = markdownTable(["hyperparameter", "default", "allowed", "tuned over", "meaning"], rows);
      return `### \`${record.name}\`: ${record.title}\n\n${table}${own === "" ? "" : `\n\n${own}`}`;
    })
    .join("\n\n");
}

function presetLines(optimizer: string): string {
  const lines = Object.entries(presets).flatMap(([group, own]) =>
    Object.entries(own).flatMap(([name, preset]) => {
      if (preset.optimizer !== optimizer) return [];
      const options = Object.entries(preset.options).map(([key, value]) => `${key} ${String(value)}`);
      return [`- \`presets.${group}.${name}\`: ${options.join(", ")}`];
    }),
  );
  return lines.join("\n");
}

function allowed(spec: HyperparameterSpec): string {
  switch (spec.type) {
    case "boolean":
      return "true, false";
    case "choice":
      return `${spec.choices.join(", ")}${spec.predicate ? ", or a function" : ""}`;
    case "integer":
      return `whole, from ${spec.min ?? "-∞"}`;
    case "float": {
      const { min, max, open, schedulable } = spec;
      const left = min === undefined || open === "min" || open === "both" ? "(" : "[";
      const right = max === undefined || open === "max" || open === "both" ? ")" : "]";
      return `${left}${min ?? "-∞"}, ${max ?? "∞"}${right}${schedulable ? ", or a schedule" : ""}`;
    }
  }
}

function space({ distribution, low, high, complement }: NonNullable<HyperparameterSpec["tuning"]>): string {
  return `${complement ? "1 - " : ""}${distribution === "logUniform" ? "log-uniform" : "uniform"} ${low} … ${high}`;
}
