// The pages of docs/optimizers: tables from the registry, and pictures of the optimizers' paths through a curved valley.
//
//   node --import ./scripts/run-sources.mjs packages/bench/bench/optimizer-docs.ts [--tables] [page …]
//
// The text between the generated parts is written by hand and stays. With --tables no pictures are drawn, with names of pages
// only theirs.
//
// The valley is f(x, y) = (1 - x)² + 10 (y - x²)², from (-1.4, 1.8), 150 steps. Learning rates are those of a grid with the
// lowest loss at the end, each picture says which; methods without a learning rate have their defaults; no weight decay. For
// methods that ask for curvature, the point is the weight of a layer whose input is 1 and f half the squared error of what
// comes of it, so that the curvature is that of Gauss and Newton.
import { mkdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { valueAndGrad } from "@thalweg/autograd";
import { type CurvatureProblem, kroneckerCurvature, squaredError } from "@thalweg/curvature";
import { applyUpdates, evalParams, type OptimizerRecord, type Refresh } from "@thalweg/optim";
import { compile, concat, full, init, type Tensor, tensor } from "@thalweg/tensor";
import { hyperparameterTables, overviewTable, pages, recordsOf } from "./optimizer-tables";
import { writeSection } from "./report";

const folder = "docs/optimizers";
const steps = 150;
const grid = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const [left, right, bottom, top] = [-2, 2, -1, 3];
const start = [-1.4, 1.8] as const;
/** Of a picture, in pixels. */
const [width, height] = [220, 165];
const columns = 4;

interface Path {
  readonly points: readonly (readonly [number, number])[];
  /** Where the model is evaluated. */
  readonly end: readonly [number, number];
  readonly loss: number;
  readonly rate: number | undefined;
}

/** f as half the squared error of √2 (1 - x) and √20 (y - x²). */
const residuals: CurvatureProblem<{ readonly point: Tensor }> = {
  loss: squaredError,
  model({ point }, inputs) {
    const [x, y] = [0, 1].map((axis) => inputs.dot(point).slice([0, axis], [1, axis + 1])) as [Tensor, Tensor];
    return concat([x.neg().add(1).mul(Math.SQRT2), y.sub(x.square()).mul(Math.sqrt(20))], { axis: 1 });
  },
};
const constantInput = { inputs: full([1, 1], 1), targets: full([1, 2], 0) };

const { values: flags, positionals } = parseArgs({ allowPositionals: true, options: { tables: { type: "boolean" } } });
if (!flags.tables) await drawPictures(positionals.length > 0 ? positionals : Object.keys(pages));
for (const [page, { title }] of Object.entries(pages)) {
  const path = `${folder}/${page}.md`;
  writeSection(path, "overview", overviewTable(page), `# ${title}\n`);
  writeSection(path, "hyperparameters", hyperparameterTables(page), `# ${title}\n`);
}
const index = Object.entries(pages).map(
  ([page, { title }]) =>
    `- [${title}](${page}.md): ${recordsOf(page)
      .map(({ name }) => `\`${name}\``)
      .join(", ")}`,
);
writeSection(`${folder}/README.md`, "index", index.join("\n"), "# Optimizers\n");

async function drawPictures(names: readonly string[]): Promise<void> {
  mkdirSync(`${folder}/paths`, { recursive: true });
  const device = await init({ notice: () => {} });
  for (const [page, { title }] of Object.entries(pages).filter(([name]) => names.includes(name))) {
    const panels: string[] = [];
    for (const record of recordsOf(page)) {
      panels.push(panel(record, await bestPath(record), panels.length));
      console.error(record.name);
    }
    writeFileSync(`${folder}/paths/${page}.svg`, picture(title, panels));
  }
  device.destroy();
}

/** The path with the lowest loss at the end. */
async function bestPath(record: OptimizerRecord): Promise<Path> {
  const rates = record.without.includes("learningRate") ? [undefined] : grid;
  const paths: Path[] = [];
  for (const rate of rates) paths.push(await walk(record, rate));
  return paths.reduce((best, path) => (path.loss < best.loss || Number.isNaN(best.loss) ? path : best));
}

function valley([x, y]: readonly [number, number]): number {
  return (1 - x) ** 2 + 10 * (y - x ** 2) ** 2;
}

async function walk(record: OptimizerRecord, rate: number | undefined): Promise<Path> {
  const known = (name: string) => Object.hasOwn(record.hyperparameters, name);
  const optimizer = record.create({
    ...(rate !== undefined && known("learningRate") && { learningRate: rate }),
    ...(known("weightDecay") && { weightDecay: 0 }),
    // Steps are few: what is refreshed rarely is refreshed at once.
    ...(known("frequency") && { frequency: 1 }),
    ...(known("stagger") && { stagger: 1 }),
    ...(known("inverseInterval") && { inverseInterval: 1 }),
    ...(known("preconditionerRate") && { interval: 1 }),
  });
  const options = { ...optimizer.rule.curvature, fisher: "type2" } as const;
  const own = kroneckerCurvature(residuals, { point: tensor([[...start]]) }, constantInput, options);
  const coordinates = (point: Tensor) => [0, 1].map((axis) => point.slice([0, axis], [1, axis + 1]).reshape([]));
  const loss = ({ point }: { readonly point: Tensor }): Tensor => {
    const [x, y] = coordinates(point) as [Tensor, Tensor];
    return x.neg().add(1).square().add(y.sub(x.square()).square().mul(10));
  };
  type State = { readonly params: { readonly point: Tensor }; readonly optimizer: ReturnType<typeof optimizer.init> };
  const step = compile((state: State, refresh: Refresh) => {
    const [value, gradients] = valueAndGrad(loss)(state.params);
    const [x, y] = coordinates(state.params.point) as [Tensor, Tensor];
    const curvature = x.square().mul(120).sub(y.mul(40)).add(2).reshape([1, 1]).expand([1, 2]);
    const diagonal = state.params.point.iotaLike(1).equal(0).where(curvature, 20);
    const [updates, next] = optimizer.update(gradients, state.optimizer, state.params, {
      loss: value,
      valueAndGrad: (at) => valueAndGrad(loss)(at as State["params"]),
      curvatureDiagonal: () => ({ point: diagonal }),
      kronecker: own.evaluate(state.params, constantInput),
      refresh,
    });
    const params = applyUpdates(state.params, updates);
    const trace = { point: params.point.add(0), evaluated: evalParams(optimizer, next, params).point.add(0) };
    return [{ params, optimizer: next }, trace] as const;
  });
  const params = { point: tensor([[...start]]) };
  let state: State = { params, optimizer: optimizer.init(params, own) };
  const traces: { readonly point: Tensor; readonly evaluated: Tensor }[] = [];
  for (let index = 0; index < steps; index++) {
    const [next, trace] = step(state, optimizer.refreshesAt(index));
    state = next;
    traces.push(trace);
  }
  const read = async (x: Tensor) => Array.from(await x.data()) as unknown as [number, number];
  const points = [start, ...(await Promise.all(traces.map(({ point }) => read(point))))];
  const end = await read((traces.at(-1) as (typeof traces)[number]).evaluated);
  step.dispose();
  return { points, end, loss: valley(end), rate };
}

function toX(x: number): number {
  return ((x - left) / (right - left)) * width;
}

function toY(y: number): number {
  return ((top - y) / (top - bottom)) * height;
}

function show(value: number): string {
  return value.toFixed(1);
}

function panel({ name }: OptimizerRecord, { points, end, loss, rate }: Path, index: number): string {
  const [x, y] = [(index % columns) * (width + 12), Math.floor(index / columns) * (height + 34)];
  // Far outside nothing is seen, and numbers become long.
  const near = points.filter((point) => point.every((value) => Math.abs(value) < 20));
  const line = near.map(([a, b]) => `${show(toX(a))},${show(toY(b))}`).join(" ");
  const label = rate === undefined ? "no rate" : `rate ${rate}`;
  return `<g transform="translate(${x} ${y})">
<svg width="${width}" height="${height}" overflow="hidden"><title>Path of ${name}</title><use href="#valley"/>
<polyline points="${line}" fill="none" stroke="#c2410c" stroke-width="1.4"/>
<circle cx="${show(toX(start[0]))}" cy="${show(toY(start[1]))}" r="3" fill="#1f2937"/>
<circle cx="${show(toX(end[0]))}" cy="${show(toY(end[1]))}" r="3.5" fill="#fff" stroke="#c2410c" stroke-width="1.6"/></svg>
<text x="0" y="${height + 14}" font-weight="600">${name}</text>
<text x="${width}" y="${height + 14}" text-anchor="end" fill="#4b5563">${label}, f ${loss < 1e-3 ? loss.toExponential(0) : loss.toPrecision(2)}</text></g>`;
}

function picture(title: string, panels: readonly string[]): string {
  const rows = Math.ceil(panels.length / columns);
  const [w, h] = [Math.min(panels.length, columns) * (width + 12) - 12, rows * (height + 34) - 8];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -12 ${w + 24} ${h + 24}" width="${w + 24}" font-family="system-ui, sans-serif" font-size="12" fill="#1f2937">
<title>${title}: paths through a curved valley</title>
<rect x="-12" y="-12" width="${w + 24}" height="${h + 24}" fill="#fff"/>
<defs><g id="valley"><rect width="${width}" height="${height}" fill="#f8fafc"/>${contours()}
<path d="M${show(toX(1) - 4)} ${show(toY(1))}h8m-4 -4v8" stroke="#0f766e" stroke-width="1.6"/></g></defs>
${panels.join("\n")}
</svg>
`;
}

/** Lines of equal height by marching squares. */
function contours(): string {
  const levels = [0.05, 0.3, 1, 3, 8, 20, 50, 110];
  const [nx, ny] = [80, 60];
  const at = (i: number, j: number) => [left + ((right - left) * i) / nx, bottom + ((top - bottom) * j) / ny] as const;
  return levels
    .map((level, index) => {
      const parts: string[] = [];
      for (let i = 0; i < nx; i++) {
        for (let j = 0; j < ny; j++) {
          const corners = [at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)];
          const crossings = corners.flatMap((a, corner) => {
            const b = corners[(corner + 1) % 4] as readonly [number, number];
            const [fa, fb] = [valley(a) - level, valley(b) - level];
            if (fa < 0 === fb < 0) return [];
            const share = fa / (fa - fb);
            return [[a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share] as const];
          });
          for (let k = 0; k + 1 < crossings.length; k += 2) {
            const [[ax, ay], [bx, by]] = [crossings[k], crossings[k + 1]] as [
              readonly [number, number],
              readonly [number, number],
            ];
            parts.push(`M${show(toX(ax))} ${show(toY(ay))}L${show(toX(bx))} ${show(toY(by))}`);
          }
        }
      }
      const shade = 190 - 12 * index;
      return `<path d="${parts.join("")}" fill="none" stroke="rgb(${shade},${shade + 10},${shade + 25})" stroke-width="0.8"/>`;
    })
    .join("");
}
