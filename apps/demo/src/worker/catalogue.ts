import { standardRaces } from "@thalweg/bench";
import { optimizers } from "@thalweg/optim";
import { type DatasetRecord, datasets, parameterCount, problems } from "@thalweg/workloads";
import type { Catalogue } from "./protocol";

/** Everything that the registries have, without what only the engine understands. */
export function describeCatalogue(): Catalogue {
  return {
    optimizers: Object.values(optimizers).map(({ name, title, source, year, family, hyperparameters }) => ({
      name,
      title,
      source,
      year,
      family,
      hyperparameters,
    })),
    workloads: Object.values(problems).map((problem) => {
      const { name, title, dataset, metric, defaults } = problem;
      const { title: datasetTitle, source }: DatasetRecord = datasets[dataset];
      return {
        name,
        title,
        dataset,
        datasetTitle,
        downloadBytes: Object.values(source?.files ?? {}).reduce((sum, { bytes }) => sum + bytes, 0),
        parameters: parameterCount(problem),
        metric,
        defaults,
        standard: Object.hasOwn(standardRaces, name) ? standardRaces[name] : undefined,
      };
    }),
  };
}
