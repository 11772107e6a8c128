import { formatValue, optimizerTitle, pathStatus } from "./describe";
import { reach, stepsOf } from "./paths/summary";
import type { Path, Store } from "./store";

/** What became of every path, in numbers: also what readers have who do not see the map. */
export function ResultTable({ store }: { readonly store: Store }) {
  const catalogue = store.catalogue.value;
  return (
    <section class="panel scroll results" aria-label="Results">
      <table>
        <caption class="visually-hidden">{`Paths of the optimizers. A minimum is reached within ${reach} of it.`}</caption>
        <thead>
          <tr>
            <th scope="col">Optimizer</th>
            <th scope="col" class="number">
              Learning rate
            </th>
            <th scope="col" class="number">
              Steps to a minimum
            </th>
            <th scope="col" class="number">
              Last value
            </th>
            <th scope="col" class="number">
              at x, y
            </th>
            <th scope="col">What became of it</th>
          </tr>
        </thead>
        <tbody>
          {store.paths.value.map((path, index) => (
            <tr key={index} data-series={index % 8}>
              <th scope="row">
                <span class="swatch" aria-hidden="true" /> {optimizerTitle(catalogue, path.runner.optimizer)}
              </th>
              <td class="number">{rateOf(store, path)}</td>
              <td class="number">{path.summary?.reached?.step ?? "–"}</td>
              <td class="number" data-value={path.summary?.value}>
                {path.summary === undefined ? "" : formatValue(path.summary.value)}
              </td>
              <td class="number" data-point={path.summary && `${path.summary.end.x},${path.summary.end.y}`}>
                {path.summary === undefined ? "" : `${position(path.summary.end.x)}, ${position(path.summary.end.y)}`}
              </td>
              <td>{`${pathStatus(path)}${path.points === undefined || path.isComplete ? "" : `, ${stepsOf(path.points)} steps so far`}`}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {store.engine.value.state === "ready" && <p class="hint">{`Computed on ${store.engine.value.adapter}.`}</p>}
    </section>
  );
}

const position = (value: number): string => value.toFixed(4).replace("-", "−");

function rateOf(store: Store, { runner }: Path): string {
  const spec = store.catalogue.value.find(({ name }) => name === runner.optimizer)?.hyperparameters.learningRate;
  const rate = runner.options.learningRate ?? spec?.default;
  return typeof rate === "number" && spec !== undefined ? String(rate) : "–";
}
