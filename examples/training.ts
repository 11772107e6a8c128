// A network, an optimizer and a compiled training step: one submit per step, state updated in place.
import { valueAndGrad } from "@thalweg/autograd";
import * as nn from "@thalweg/nn";
import { adamw, applyUpdates, chain, clipByGlobalNorm } from "@thalweg/optim";
import { compile, defaultDevice, init, key, normal, type Tensor } from "@thalweg/tensor";

await init();

// Two classes: is the product of two coordinates positive? No line separates them.
const points = normal(key(0), [512, 2]);
const labels = points.prod({ axis: 1 }).greater(0).cast("i32");

const model = nn.sequential({
  hidden: nn.dense({ features: 32 }),
  activation: nn.tanh,
  out: nn.dense({ features: 2 }),
});
const params = model.init(key(1), { shape: [512, 2] });
type Params = typeof params;
const lossOf = (p: Params, x: Tensor, y: Tensor) => nn.softmaxCrossEntropy(model.apply(p, x), y).mean();

const optimizer = chain(clipByGlobalNorm({ maxNorm: 1 }), adamw({ learningRate: 0.02 }));
const opt = optimizer.init(params);
const step = compile(
  function train(state: { params: Params; opt: typeof opt }, x: Tensor, y: Tensor) {
    const [loss, grads] = valueAndGrad(lossOf)(state.params, x, y);
    const [updates, next] = optimizer.update(grads, state.opt, state.params);
    return [{ params: applyUpdates(state.params, updates), opt: next }, { loss }] as const;
  },
  { donate: [0] },
);

let state = { params, opt };
for (let i = 0; i < 100; i++) {
  const [next, { loss }] = step(state, points, labels);
  state = next; // no await: the GPU stays ahead
  if (i % 20 === 19) console.log(`step ${i + 1}: loss ${(await loss.item()).toFixed(4)}`);
}
console.log("accuracy:", await nn.accuracy(model.apply(state.params, points), labels).mean().item());
console.log(step.explain());

defaultDevice()?.destroy();
