// What an update costs beside a copy: the bytes that a rule has to move, once each, over the time that it takes.
//
//   node --import ./scripts/run-sources.mjs packages/optim/bench/update.bench.ts [optimizers] [parameters] [tensors] [runs]
//
// Bytes are those of gradients, parameters and buffers, all of which are read and written: 32 per parameter for Adam. (The
// gradients are negated in place, so that they belong to the program, as they do in a training step. There the updates are
// mostly epilogues of the kernels that compute the gradients, and cost less.) The copy moves as many bytes, and both run in
// turn, so that a drifting clock hits both alike. Times are wall-clock over groups of steps, from an idle device to an
// idle device.
import { applyUpdates, optimizers } from "@thalweg/optim";
import { compile, init, key, evaluate as realize, type Tensor, treeLeaves, uniform } from "@thalweg/tensor";

const [names = "sgd,momentum,adam,adamw", parameters = 25e6, tensors = 100, runs = 9] = process.argv
  .slice(2)
  .map((text) => (/^[\d.e]+$/.test(text) ? Number(text) : text));

const device = await init();
// Unequal sizes, as in a network: a geometric sequence that adds up to the number asked for.
const ratio = 1.05;
const smallest = (Number(parameters) * (ratio - 1)) / (ratio ** Number(tensors) - 1);
const sizes = Array.from({ length: Number(tensors) }, (_, index) => 4 * Math.ceil((smallest * ratio ** index) / 4));
const total = sizes.reduce((sum, size) => sum + size, 0);
const make = (seed: number) => sizes.map((size, index) => uniform(key(seed + index), [size], { low: -1, high: 1 }));
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

/** Milliseconds of a call, from a group that takes about a fifth of a second. */
async function time(call: () => void): Promise<number> {
  const measure = async (count: number) => {
    await device.idle();
    const start = performance.now();
    for (let index = 0; index < count; index++) call();
    await device.idle();
    return (performance.now() - start) / count;
  };
  const once = await measure(2);
  return measure(Math.max(1, Math.round(200 / once)));
}

console.log(`${device.adapter.description}: ${total} parameters in ${sizes.length} tensors, median of ${runs}`);
console.log("optimizer           bytes/parameter  dispatches   ms/update      GB/s   of copy  (quartiles)");
for (const name of String(names).split(",")) {
  const record = optimizers[name];
  if (record === undefined) throw new Error(`There is no optimizer ${name}.`);
  const optimizer = record.create();
  const params = make(1000);
  let state = { params, optimizer: optimizer.init(params), gradients: make(1) };
  await realize(treeLeaves<Tensor>(state));
  const update = compile(
    ({ params, optimizer: own, gradients }: typeof state): typeof state => {
      const [updates, next] = optimizer.update(gradients, own, params, { refresh: false });
      return { params: applyUpdates(params, updates), optimizer: next, gradients: gradients.map((g) => g.neg()) };
    },
    { donate: [0], name },
  );
  const bytes = 4 * total * 2 * (2 + record.buffers());
  // In parts that any device binds as one buffer.
  const part = 2 ** 24;
  const source = Array.from({ length: Math.ceil(bytes / 8 / part) }, (_, index) =>
    uniform(key(index), [Math.min(part, bytes / 8 - index * part)]),
  );
  const copy = compile((_: readonly Tensor[], from: readonly Tensor[]) => from.map((x) => x.neg()), { donate: [0] });
  let target = source.map((x) => x.fullLike(0));
  await realize([...source, ...target]);
  const [ratios, rates, times]: [number[], number[], number[]] = [[], [], []];
  for (let run = 0; run < Number(runs); run++) {
    const own = await time(() => {
      state = update(state);
    });
    const reference = await time(() => {
      target = copy(target, source);
    });
    ratios.push(reference / own);
    rates.push(bytes / own / 1e6);
    times.push(own);
  }
  const sorted = ratios.toSorted((a, b) => a - b);
  const percent = (value = Number.NaN) => `${(100 * value).toFixed(0)} %`;
  const quarter = Math.floor(sorted.length / 4);
  console.log(
    `${name.padEnd(20)}${String(bytes / total).padStart(15)}${String(update.statistics().dispatches).padStart(12)}` +
      `${median(times).toFixed(2).padStart(12)}${median(rates).toFixed(1).padStart(10)}${percent(median(ratios)).padStart(10)}` +
      `  (${percent(sorted[quarter])} – ${percent(sorted[sorted.length - 1 - quarter])})`,
  );
  for (const leaf of treeLeaves<Tensor>([state, target, source])) leaf.dispose();
  update.dispose();
  copy.dispose();
}
device.destroy();
