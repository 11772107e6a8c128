import { type DatasetName, datasets } from "@thalweg/workloads";
import { checkDataset, type DownloadProgress, fetchDataset } from "@thalweg/workloads/node";
import type { Command } from "commander";
import { formatSeconds } from "../../report/format";
import { exitCodes } from "../failure";
import { parseChoice } from "../parse";
import type { Terminal } from "../terminal";
import type { CommandContext } from "./context";

/** Data sets that are read from files, which is what can be fetched and checked. */
const withFiles = (Object.keys(datasets) as DatasetName[]).filter((name) => datasets[name].source !== undefined);

/** `thalweg data fetch` and `thalweg data check`. */
export function addDataCommand(program: Command, context: CommandContext): void {
  const data = program.command("data").description("Download and verify data sets.");
  data
    .command("fetch")
    .description("Download data sets from their publishers, verified and resumable.")
    .argument("[names...]", `data sets: any of ${withFiles.join(", ")}; all of them if none is named`)
    .option("--dir <folder>", "folder to fill; default: the cache in your home folder, or THALWEG_CACHE")
    .option("--json", "write the result as one JSON document on stdout")
    .action((names: string[], options: { readonly dir?: string; readonly json?: boolean }) =>
      fetchCommand(names, options, context),
    );
  data
    .command("check")
    .description("Verify the data sets that are on this machine, where a run would look for them.")
    .argument("[names...]", `data sets: any of ${withFiles.join(", ")}; all of them if none is named`)
    .option("--json", "write the result as one JSON document on stdout")
    .action((names: string[], options: { readonly json?: boolean }) => checkCommand(names, options, context));
}

async function fetchCommand(
  names: readonly string[],
  { dir, json = false }: { readonly dir?: string; readonly json?: boolean },
  { terminal }: CommandContext,
): Promise<void> {
  const results = [];
  for (const { name, source } of sourcesOf(names)) {
    const bar = downloadBar(terminal);
    const files = await fetchDataset(source, {
      folder: dir,
      signal: terminal.signal,
      onProgress: (file, progress) => bar.show(`${name} ${file.name}`, progress),
    });
    bar.clear();
    for (const { file, path, outcome } of files) {
      results.push({ dataset: name, file: file.name, path, outcome });
      if (!json) terminal.out(`${name}: ${file.name} ${outcome} (${path})\n`);
    }
  }
  if (json) terminal.out(`${JSON.stringify(results, null, 2)}\n`);
}

async function checkCommand(
  names: readonly string[],
  { json = false }: { readonly json?: boolean },
  { terminal, setExitCode }: CommandContext,
): Promise<void> {
  const results = [];
  for (const { name, source } of sourcesOf(names)) {
    for (const { file, path, error } of await checkDataset(source)) {
      results.push({ dataset: name, file: file.name, path: path ?? null, problem: error?.message ?? null });
      if (error !== undefined) setExitCode(exitCodes.failure);
      if (!json && error === undefined) terminal.out(`${name}: ${file.name} is good (${path})\n`);
      if (error !== undefined) terminal.error(`error: ${error.message}\n`);
    }
  }
  if (json) terminal.out(`${JSON.stringify(results, null, 2)}\n`);
}

function sourcesOf(names: readonly string[]) {
  const chosen = names.length === 0 ? withFiles : names.map(parseDatasetName);
  return chosen.flatMap((name) => {
    const { source } = datasets[name];
    return source === undefined ? [] : [{ name, source }];
  });
}

function parseDatasetName(name: string): DatasetName {
  return parseChoice<DatasetName>(
    name,
    withFiles,
    "data set",
    `Known are ${withFiles.join(", ")}; digits needs no files.`,
  );
}

/** A download's progress: a bar that is rewritten where somebody watches, else a line every ten seconds. */
function downloadBar({ error, live, now }: Terminal) {
  const width = 24;
  let drawnAt = Number.NEGATIVE_INFINITY;
  return {
    show(label: string, { bytesDone, bytesTotal, bytesPerSecond }: DownloadProgress): void {
      if (now() - drawnAt < (live ? 100 : 10_000)) return;
      drawnAt = now();
      const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
      const cells = Math.min(width, Math.round((bytesDone / bytesTotal) * width));
      const bar = "█".repeat(cells) + "░".repeat(width - cells);
      const left =
        bytesPerSecond > 0 ? `, ${formatSeconds(Math.round((bytesTotal - bytesDone) / bytesPerSecond))} left` : "";
      const text = `${label} ${bar} ${megabytes(bytesDone)} of ${megabytes(bytesTotal)} MB${left}`;
      error(live ? `\r\u001b[K${text}` : `${text}\n`);
    },
    clear(): void {
      if (live && drawnAt > Number.NEGATIVE_INFINITY) error("\r\u001b[K");
    },
  };
}
