// Derivatives are functions of functions, over trees of tensors; they nest in any order.
import { grad, hessian, hvp, jvp, vmap } from "@thalweg/autograd";
import { defaultDevice, type Tensor, tensor } from "@thalweg/tensor";

type Point = { u: Tensor; v: Tensor };
const rosenbrock = ({ u, v }: Point): Tensor => u.neg().add(1).square().add(v.sub(u.square()).square().mul(100));

const point = { u: tensor(-0.5), v: tensor(1.5) };
const slope = grad(rosenbrock)(point);
console.log("gradient at (-0.5, 1.5):", await slope.u.item(), await slope.v.item());

const curvature = hessian(rosenbrock)({ u: tensor(1), v: tensor(1) });
console.log("Hessian at the minimum:", [
  [await curvature.u.u.item(), await curvature.u.v.item()],
  [await curvature.v.u.item(), await curvature.v.v.item()],
]);

const along = hvp(rosenbrock, point, { u: tensor(1), v: tensor(0) });
console.log("Hessian times (1, 0):", await along.u.item(), await along.v.item());

const [value, rate] = jvp((x: Tensor) => x.sin(), [tensor(0.3)], [tensor(1)]);
console.log("sin and its derivative at 0.3:", await value.item(), await rate.item());

// One gradient per example: what curvature and training diagnostics are made of.
const weights = tensor([0.5, -1]);
const loss = (w: Tensor, x: Tensor): Tensor => w.dot(x).tanh().square();
const perExample = vmap(grad(loss), { in: [null, 0] });
console.log(
  "gradients of three examples:",
  await perExample(
    weights,
    tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]),
  ).array(),
);

defaultDevice()?.destroy();
