// Copies the files of data sets beside a build: npm run data -w @thalweg/demo -- fmnist
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { dataSources, type SourceName } from "@thalweg/workloads";
import { checkDataset } from "@thalweg/workloads/node";

const names = process.argv.slice(2);
const known = Object.keys(dataSources);
if (names.length === 0 || names.some((name) => !known.includes(name))) {
  console.error(`Name the data sets to place: ${known.join(", ")}.`);
  process.exit(2);
}
for (const name of names) {
  // Checked above.
  const source = dataSources[name as SourceName];
  const folder = join(import.meta.dirname, "../dist/data", source.folder);
  await mkdir(folder, { recursive: true });
  for (const { file, path, error } of await checkDataset(source)) {
    if (error !== undefined || path === undefined) {
      console.error(`error: ${error?.message ?? `${file.name} is missing.`}`);
      process.exit(1);
    }
    await copyFile(path, join(folder, file.name));
  }
  console.log(`${source.title}: ${folder}`);
}
