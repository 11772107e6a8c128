// Weight decay and noise without validation data: a small network on generated data, trained by its evidence, and the bands
// in which its Laplace posterior expects new data.
import { type CurvatureProblem, laplace, squaredError } from "@thalweg/curvature";
import { adam, trainWithEvidence } from "@thalweg/optim";
import { init, key, normal, scalar, type Tensor, tensor, uniform, zeros } from "@thalweg/tensor";

await init();

const noise = 0.2;
const curve = (x: Tensor): Tensor => x.mul(2).add(0.5).sin().add(x.mul(0.3));
/** Inputs between -3 and 3, without those between 0 and 1. */
const draw = (seed: number, count: number) => {
  const at = uniform(key(seed), [count, 1], { low: -3, high: 2 });
  const inputs = at.greater(0).where(at.add(1), at);
  return { inputs, targets: curve(inputs).add(normal(key(seed + 1), [count, 1]).mul(noise)) };
};

const width = 16;
const params = {
  w: normal(key(0), [1, width]).mul(2),
  b: normal(key(1), [width]),
  v: normal(key(2), [width, 1]).mul(0.2),
  c: normal(key(3), [1]).mul(0.1),
};
type Params = typeof params;
const problem: CurvatureProblem<Params> = {
  loss: squaredError,
  model: (p, x) => x.dot(p.w).add(p.b).tanh().dot(p.v).add(p.c),
};
const training = draw(10, 100);

const found = await trainWithEvidence({
  problem,
  params,
  optimizer: adam({ learningRate: 0.03 }),
  batches: [training],
  epochs: 1500,
  burnIn: 500,
  fitEvery: 50,
  start: { logPriorPrecision: zeros([4]), logNoise: scalar(-1.5) },
  selection: { schedule: "cosine" },
  posterior: { structure: "full" },
});
const sigma = Math.exp(await (found.hyperparameters.logNoise as Tensor).item());
console.log(`noise of the data ${noise}, found ${sigma.toFixed(3)}`);
console.log(`log evidence ${found.logEvidence[0]?.toFixed(1)}, best ${Math.max(...found.logEvidence).toFixed(1)}`);
for (const { name, parameters, priorPrecision, effectiveParameters, weightDecay } of found.layers) {
  console.log(
    `${name}: δ ${priorPrecision.toPrecision(2)}, weight decay ${weightDecay.toExponential(1)}, ` +
      `${effectiveParameters?.toFixed(1)} of ${parameters} parameters determined`,
  );
}

const posterior = laplace(problem, found.params, training, { structure: "full" });
await posterior.realize();
const bandsAt = async (inputs: Tensor) => {
  const { mean, variance } = posterior.predictVariance(inputs, found.hyperparameters);
  const deviations = (await variance.data()).map((own) => Math.sqrt(own + sigma ** 2));
  return { mean: await mean.data(), deviations };
};

const places = [-5, -2, -1, 0.5, 2, 5];
const { mean, deviations } = await bandsAt(tensor(places, { shape: [places.length, 1] }));
places.forEach((x, index) => {
  const where = Math.abs(x) > 3 ? "outside of the data" : x > 0 && x < 1 ? "in their gap" : "where they are";
  console.log(`at ${x}: ${mean[index]?.toFixed(2)} ± ${(2 * (deviations[index] as number)).toFixed(2)}, ${where}`);
});

const test = draw(20, 1000);
const bands = await bandsAt(test.inputs);
const targets = await test.targets.data();
const inside = targets.filter((y, index) => {
  const [middle, deviation] = [bands.mean[index], bands.deviations[index]] as [number, number];
  return Math.abs(y - middle) <= 2 * deviation;
});
console.log(`${((100 * inside.length) / targets.length).toFixed(1)} % of new data lie within two deviations`);
