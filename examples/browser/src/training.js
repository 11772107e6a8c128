import { compile, key, nn, optim, tensor, valueAndGrad } from "thalweg";

const model = nn.sequential({
  first: nn.dense({ features: 32 }),
  firstActivation: nn.tanh,
  second: nn.dense({ features: 32 }),
  secondActivation: nn.tanh,
  out: nn.dense({ features: 2 }),
});
const lossOf = (params, x, y) => nn.softmaxCrossEntropy(model.apply(params, x), y).mean();
const optimizer = optim.adam({ learningRate: 0.01 });

/** One step, compiled: the GPU gets a fixed list of kernels at once, and the new state takes the place of the old. */
const step = compile(
  (state, x, y) => {
    const [loss, grads] = valueAndGrad(lossOf)(state.params, x, y);
    const [updates, memory] = optimizer.update(grads, state.memory, state.params);
    return [{ params: optim.applyUpdates(state.params, updates), memory }, { loss }];
  },
  { donate: [0] },
);

const measure = compile((params, x, y, grid) => ({
  accuracy: nn.accuracy(model.apply(params, x), y).mean(),
  field: nn.softmax(model.apply(params, grid)).slice([0, 1], [grid.shape[0], 2]),
}));

/** Trains from fresh weights and yields, every few steps, the loss, the accuracy and what the network says of the grid. */
export async function* train({ points, labels, grid, seed, steps, interval }) {
  const x = tensor(points, { shape: [labels.length, 2] });
  const y = tensor(labels);
  const cells = tensor(grid, { shape: [grid.length / 2, 2] });
  const params = model.init(key(seed), { shape: x.shape });
  let state = { params, memory: optimizer.init(params) };
  for (let done = 1; done <= steps; done++) {
    const [next, { loss }] = step(state, x, y); // No await: the GPU stays busy.
    state = next;
    if (done % interval !== 0 && done !== 1) continue;
    const { accuracy, field } = measure(state.params, x, y, cells);
    // Only reading waits.
    yield { step: done, loss: await loss.item(), accuracy: await accuracy.item(), field: await field.data() };
  }
}
