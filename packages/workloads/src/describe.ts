import type { TestProblem } from "./problem";

/** Number of parameters of a problem. */
export function parameterCount({ layers }: Pick<TestProblem, "layers">): number {
  return layers.flatMap(({ parameters }) => parameters).reduce((sum, { count }) => sum + count, 0);
}

/** A problem in words: every layer with its output shape, every parameter with its initialisation and L2 membership. */
export function describeProblem(problem: TestProblem): string {
  const { name, title, version, dataset, defaults, layers } = problem;
  const l2 = defaults.l2 === 0 ? "no L2" : `L2 ${defaults.l2}`;
  const head = [
    `${name} ${version}: ${title}`,
    `data set ${dataset}, batch size ${defaults.batchSize}, ${defaults.epochs} epochs, ${l2}`,
  ];
  const body = layers.flatMap(({ name: layer, operation, outputShape, parameters }) => [
    `${layer}: ${operation} -> [${outputShape.join(", ")}]`,
    ...parameters.map(({ path, shape, count, initializer, decayed }) => {
      const decay = decayed ? ", in L2" : "";
      return `  ${path} [${shape.join(", ")}] ${formatCount(count)}, ${initializer}${decay}`;
    }),
  ]);
  return [...head, ...body, `${formatCount(parameterCount(problem))} parameters`].join("\n");
}

/** A whole number with commas between thousands, the same in every locale. */
function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}
