import { concat, iota, type Shape, type Tensor, tensor, where } from "@thalweg/tensor";

/** A differentiable function of float tensors, for the suites that run over all of them. */
export interface FunctionCase {
  readonly name: string;
  readonly shapes: readonly Shape[];
  readonly f: (...args: Tensor[]) => Tensor;
  /** Where arguments are drawn, default [-1, 1]. Kinks are kept a distance away from by drawing distinct values. */
  readonly domain?: readonly [number, number];
}

const softmax = (x: Tensor): Tensor => x.sub(x.logSumExp({ axis: -1, keepDims: true })).exp();

/** Windows over two axes of `[n, h, w, c]` and a contraction with `[kh, kw, c, features]`. */
function convolution(x: Tensor, kernel: Tensor, stride: number, dilation: number): Tensor {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const [kh, kw] = kernel.shape as [number, number];
  const windows = (extent: number, taps: number) => Math.floor((extent - (taps - 1) * dilation - 1) / stride) + 1;
  return x
    .reshape([n, h, 1, w, 1, c])
    .expand([n, h, kh, w, kw, c])
    .windowed({ axis: 1, stride, dilation, windows: windows(h, kh), extent: h })
    .windowed({ axis: 3, stride, dilation, windows: windows(w, kw), extent: w })
    .dot(kernel, {
      contract: [
        [2, 4, 5],
        [0, 1, 2],
      ],
    });
}

function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const classes = logits.shape[1] as number;
  const picked = iota(logits.shape, 1).equal(labels.expandDims(1).expand([logits.shape[0] as number, classes]));
  return logits.logSumExp({ axis: 1 }).sub(picked.where(logits, 0).sum({ axis: 1 }));
}

function layerNorm(x: Tensor, scale: Tensor, offset: Tensor): Tensor {
  const centred = x.sub(x.mean({ axis: -1, keepDims: true }));
  const deviation = x.variance({ axis: -1, keepDims: true }).add(1e-3).rsqrt();
  return centred.mul(deviation).mul(scale).add(offset);
}

function attention(query: Tensor, key: Tensor, value: Tensor): Tensor {
  const scores = query.matmul(key.transpose()).mul(1 / Math.sqrt(query.shape[query.rank - 1] as number));
  return softmax(scores).matmul(value);
}

export const cases: readonly FunctionCase[] = [
  {
    name: "a chain of smooth elementwise functions",
    shapes: [[3, 2], [2]],
    f: (x, y) => x.sin().mul(y.exp()).add(x.tanh().square()).div(y.square().add(1)).sub(x.sigmoid().log1p()).softplus(),
  },
  {
    name: "powers, roots and logarithms of positive numbers",
    shapes: [[4], [4]],
    domain: [0.4, 2],
    f: (x, y) =>
      x.pow(y).add(x.sqrt().mul(y.rsqrt())).sub(x.log().div(y)).add(y.pow(3)).mul(x.pow(-0.3)).add(y.reciprocal()),
  },
  {
    name: "the error function and its inverse",
    shapes: [[3]],
    domain: [-0.8, 0.8],
    f: (x) => x.erf().mul(x).add(x.erfInv()).add(x.expm1().abs()),
  },
  {
    name: "kinks: maximum, minimum, relu, where, abs",
    shapes: [[5], [5]],
    f: (x, y) => where(x.greater(y), x.maximum(0.1).mul(y), x.minimum(y).square()).add(x.relu().mul(y.abs())),
  },
  {
    name: "a dense layer",
    shapes: [[3, 4], [4, 2], [2]],
    f: (x, w, b) => x.dot(w).add(b).tanh(),
  },
  {
    name: "a contraction with batch and several contracted axes",
    shapes: [
      [2, 3, 2, 2],
      [2, 2, 3, 2],
    ],
    f: (a, b) =>
      a.dot(b, {
        batch: [[0], [3]],
        contract: [
          [1, 3],
          [2, 0],
        ],
      }),
  },
  {
    name: "a convolution with stride over windowed views",
    shapes: [
      [1, 5, 4, 2],
      [3, 2, 2, 2],
    ],
    f: (x, kernel) => convolution(x, kernel, 2, 1).tanh(),
  },
  {
    name: "a dilated convolution of padded input",
    shapes: [
      [1, 3, 3, 1],
      [2, 2, 1, 2],
    ],
    f: (x, kernel) =>
      convolution(
        x.pad([
          [0, 0],
          [1, 1],
          [1, 1],
          [0, 0],
        ]),
        kernel,
        1,
        2,
      ).square(),
  },
  {
    name: "softmax",
    shapes: [[2, 4]],
    f: (x) => softmax(x.mul(2)),
  },
  {
    name: "cross entropy of a linear classifier",
    shapes: [
      [3, 2],
      [2, 4],
    ],
    f: (x, w) => crossEntropy(x.dot(w), tensor([1, 0, 3], { dtype: "i32" })),
  },
  {
    name: "layer norm",
    shapes: [[2, 3, 4], [4], [4]],
    f: layerNorm,
  },
  {
    name: "attention",
    shapes: [
      [2, 3, 2],
      [2, 4, 2],
      [2, 4, 3],
    ],
    f: attention,
  },
  {
    name: "reductions: max, min, prod, cumulative sum",
    shapes: [[3, 4]],
    f: (x) =>
      x
        .max({ axis: 1 })
        .mul(x.prod({ axis: 1 }))
        .add(x.min({ axis: 0 }).sum())
        .add(x.cumsum({ axis: 0 }).square().mean({ axis: 1 })),
  },
  {
    name: "max pooling",
    shapes: [[6, 2]],
    f: (x) =>
      x
        .reshape([6, 1, 2])
        .expand([6, 3, 2])
        .windowed({ axis: 0, stride: 1, dilation: 1, windows: 4, extent: 6 })
        .max({ axis: 1 })
        .square(),
  },
  {
    name: "gather and scatter",
    shapes: [
      [4, 2],
      [3, 2],
    ],
    f: (table, updates) => {
      const indices = tensor([3, 1, 1], { dtype: "i32" });
      return table
        .gather(indices, { axis: 0 })
        .mul(updates)
        .add(1)
        .dot(table.scatterAdd(indices, updates.square(), { axis: 0 }).T);
    },
  },
  {
    name: "movements: concat, slice, flip, pad, permute, reshape",
    shapes: [
      [2, 3],
      [2, 2],
    ],
    f: (a, b) => {
      const joined = concat([a, b.mul(2)], { axis: 1 });
      const cut = joined.slice([0, 1], [2, 5], [1, 2]).flip(0);
      return cut
        .square()
        .T.pad(
          [
            [1, 0],
            [0, 2],
          ],
          { value: 0.5 },
        )
        .reshape([-1])
        .mul(joined.sum());
    },
  },
  {
    name: "one argument used in many places",
    shapes: [[3]],
    f: (x) => Array.from({ length: 8 }, (_, i) => x.mul(i + 1).sin()).reduce((sum, term) => sum.mul(x).add(term), x),
  },
  {
    name: "an argument that is not used",
    shapes: [[2], [3]],
    f: (x) => x.cos(),
  },
  {
    name: "an empty tensor among the arguments",
    shapes: [[2], [0, 2]],
    f: (x, empty) => x.exp().add(empty.square().sum({ axis: 0 })),
  },
];
