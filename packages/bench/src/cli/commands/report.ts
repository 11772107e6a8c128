import type { Command } from "commander";
import { UsageError } from "../../errors";
import { formatProblem } from "../../records/reader";
import { readRecords } from "../../records/reader.node.js";
import { type ReportFormat, reportFormats, writeReport } from "../../report/report.node.js";
import { renderTable } from "../../report/table";
import { raceSummary } from "../json";
import { parseChoice, parseNames } from "../parse";
import type { CommandContext } from "./context";

/** `thalweg report`: tables and files from the records of a folder. */
export function addReportCommand(program: Command, { terminal }: CommandContext): void {
  program
    .command("report")
    .description("Write tables and plots of recorded runs. Only the records are read.")
    .argument("<folder>", "folder that holds records, such as the --out of thalweg bench")
    .option("--out <formats>", `files to write into the folder: any of ${reportFormats.join(",")}`, "html,svg,png")
    .option("--json", "write the results as one JSON document on stdout")
    .action((folder: string, options: { readonly out: string; readonly json?: boolean }) => {
      const formats = parseNames(options.out, "--out").map((name) =>
        parseChoice<ReportFormat>(name, reportFormats, "format", `Use any of ${reportFormats.join(", ")}.`),
      );
      const content = readRecords(folder);
      for (const problem of content.problems) terminal.error(`warning: ${formatProblem(problem)}\n`);
      if (content.records.length === 0) {
        throw new UsageError(
          `folder ${folder} holds no records (*.jsonl). Make some with thalweg bench --out ${folder}.`,
        );
      }
      const { races, files } = writeReport(content, { folder, formats });
      if (options.json) {
        terminal.out(
          `${JSON.stringify({ races: races.map(raceSummary), files, problems: content.problems }, null, 2)}\n`,
        );
        return;
      }
      terminal.out(`${races.map(renderTable).join("\n\n")}\n\n${files.map((file) => `wrote ${file}\n`).join("")}`);
    });
}
