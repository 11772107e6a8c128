// Tensors look eager and are lazy: operations build a graph, reading runs it.
import { defaultDevice, init, key, normal, scope, tensor } from "@thalweg/tensor";

await init(); // optional: the device is found on the first read

const x = tensor([
  [1, 2],
  [3, 4],
]);
const y = x.dot(x.T).relu().sum({ axis: 0 });
console.log("relu(x·xᵀ) summed over rows:", await y.array());

const noise = normal(key(42), [1000, 1000]);
console.log("mean and variance of a million normal numbers:", await noise.mean().item(), await noise.variance().item());

// Device memory that is made in a scope, and does not leave it, is freed at its end.
const norm = scope(() => noise.square().sum().sqrt());
console.log("their norm:", await norm.item());
console.log("memory in use:", defaultDevice()?.memory());

defaultDevice()?.destroy();
