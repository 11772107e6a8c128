import { concat, type Tensor, tensor, where } from "@thalweg/tensor";
import * as fc from "fast-check";
import { customRule, grad, jvp, vmap } from "../src/index";

/** The shape of all values in a random program. */
export const shape = [2, 3] as const;

const cubed = customRule((x: Tensor) => x.pow(3), {
  vjp: (cotangent, { primals: [x] }) => [cotangent.mul(x.square()).mul(3)],
});

/** Smooth functions from two tensors [2, 3] to one, with values of moderate size; transformations are among them. */
const operations: readonly ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a) => a.sin(),
  (a) => a.tanh(),
  (a, b) => a.add(b).mul(0.7),
  (a, b) => a.mul(b),
  (a, b) => a.sub(b.square().mul(0.3)),
  (a, b) => a.div(b.square().add(1)),
  (a, b) => a.dot(b.T).dot(a).mul(0.3),
  (a) => a.sub(a.logSumExp({ axis: 1, keepDims: true })).exp(),
  (a) => a.sub(a.mean({ axis: 1, keepDims: true })).mul(a.variance({ axis: 1, keepDims: true }).add(0.3).rsqrt()),
  (a, b) =>
    a
      .cumsum({ axis: 1 })
      .mul(b.sum({ axis: 0 }))
      .mul(0.4),
  (a, b) =>
    concat([a.flip(1), b.slice([0, 0], [1, 3])], { axis: 0 })
      .slice([1, 0])
      .mul(0.9),
  (a, b) => b.gather(tensor([1, 1], { dtype: "i32" }), { axis: 0 }).mul(a),
  (a, b) => a.scatterAdd(tensor([0, 0], { dtype: "i32" }), b, { axis: 0 }).mul(0.6),
  (a, b) => where(tensor([true, false, true]), a, b),
  (a) => a.reshape([3, 2]).T.mul(0.8),
  (a, b) =>
    a
      .pad([
        [0, 0],
        [1, 1],
      ])
      .reshape([2, 5, 1])
      .expand([2, 5, 3])
      .windowed({ axis: 1, stride: 1, dilation: 1, windows: 3, extent: 5 })
      .mul(b.expandDims(1).expand([2, 3, 3]))
      .sum({ axis: 2 })
      .mul(0.4),
  (a, b) => vmap((x: Tensor, y: Tensor) => x.mul(y.sum()), { in: 1, out: 1 })(a, b).mul(0.4),
  (a, b) => grad((x: Tensor) => x.sin().mul(b).sum())(a),
  (a, b) => vmap(grad((x: Tensor, y: Tensor) => x.dot(y).tanh()))(a, b),
  (a, b) => jvp((x: Tensor) => x.square().mul(b), [a], [b.tanh()])[1].mul(0.5),
  (a) => cubed(a).mul(0.2),
  (a, b) => vmap((x: Tensor, y: Tensor) => cubed(x).mul(y))(a, b).mul(0.2),
  (a, b) => a.stopGradient().mul(0.5).add(b).sub(a.stopGradient().mul(0.5)),
];

/** One operation on earlier values. */
export interface Step {
  readonly operation: number;
  readonly left: number;
  readonly right: number;
}

/** Random programs, for fast-check to shrink. */
export const programs = fc.array(
  fc.record({
    operation: fc.nat({ max: operations.length - 1 }),
    left: fc.nat({ max: 20 }),
    right: fc.nat({ max: 20 }),
  }),
  { minLength: 1, maxLength: 8 },
);

/** Every step takes two earlier values; the last step's is the result. */
export const run = (steps: readonly Step[], x: Tensor, y: Tensor): Tensor => {
  const values = [x, y];
  for (const { operation, left, right } of steps) {
    const [a, b] = [values[left % values.length] as Tensor, values[right % values.length] as Tensor];
    values.push((operations[operation] as (a: Tensor, b: Tensor) => Tensor)(a, b));
  }
  return values[values.length - 1] as Tensor;
};
