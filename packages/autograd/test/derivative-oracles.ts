import { averagePool, conv, convTranspose, iota, maxPool, softmax, stack, type Tensor, tensor } from "@thalweg/tensor";

/** A tensor in a file of reference values. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: readonly number[];
  readonly dtype?: "i32";
}

export interface LayerSpec {
  readonly type: string;
  readonly layers?: readonly LayerSpec[];
  readonly [option: string]: unknown;
}

/** The content of a file of format `thalweg-derivatives-1`. */
export interface DerivativeOracle {
  readonly model: { readonly layers: readonly LayerSpec[] };
  readonly loss: { readonly kind: string };
  readonly params: Readonly<Record<string, StoredTensor>>;
  readonly buffers?: Readonly<Record<string, StoredTensor>>;
  readonly inputs: StoredTensor;
  readonly targets: StoredTensor;
  readonly vectors: Readonly<Record<string, StoredTensor>>;
  readonly mcDraws: StoredTensor;
  readonly expected: Readonly<Record<string, StoredTensor | number | Readonly<Record<string, StoredTensor>>>>;
  readonly float32Differences?: Readonly<Record<string, number>>;
}

export type Params = Readonly<Record<string, Tensor>>;

export const load = ({ shape, data, dtype }: StoredTensor): Tensor =>
  tensor(dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data), { shape });

export const loadAll = (stored: Readonly<Record<string, StoredTensor>>): Params =>
  Object.fromEntries(Object.entries(stored).map(([name, value]) => [name, load(value)]));

export interface RunOptions {
  /** In front of the names of parameters. */
  readonly prefix?: string;
  /** Transposed convolutions as such, or as the same convolutions of an input with zeros between its elements. */
  readonly transposed?: "direct" | "ofStretched";
}

/** A network on one example, channels first as the files have it: the batch comes from vmap. */
export function runModel(
  layers: readonly LayerSpec[],
  params: Params,
  x: Tensor,
  { prefix = "", transposed = "direct" }: RunOptions = {},
): Tensor {
  return layers.reduce((value, spec, index) => {
    const own = `${prefix}${index}.`;
    const get = (name: string): Tensor => {
      const found = params[own + name];
      if (found === undefined) throw new TypeError(`The file has no parameter ${own}${name}.`);
      return found;
    };
    const find = (name: string): Tensor | undefined => params[own + name];
    if (spec.type === "residual")
      return value.add(runModel(spec.layers ?? [], params, value, { prefix: `${own}inner.`, transposed }));
    const isStretched = transposed === "ofStretched" && spec.type.startsWith("convTranspose");
    const layer = isStretched ? stretchedConvolution : layerKinds[spec.type];
    if (layer === undefined) throw new TypeError(`The layer "${spec.type}" of the file is not known.`);
    return layer(value, spec, { get, find });
  }, x);
}

/** The loss of one example, from the output and the target of one example. */
export function exampleLoss(kind: string, output: Tensor, target: Tensor): Tensor {
  switch (kind) {
    case "crossEntropy": {
      const picked = iota(output.shape, 0).equal(target.expand(output.shape)).where(output, 0).sum({ axis: 0 });
      return output.logSumExp({ axis: 0 }).sub(picked).mean();
    }
    case "meanSquaredError":
      return output.sub(target).square().mean();
    case "binaryCrossEntropy":
      return output.softplus().sub(output.mul(target)).mean();
    default:
      throw new TypeError(`The loss "${kind}" of the file is not known.`);
  }
}

interface LayerParams {
  get(name: string): Tensor;
  find(name: string): Tensor | undefined;
}

type Layer = (x: Tensor, spec: LayerSpec, params: LayerParams) => Tensor;

const perAxis = (value: unknown, rank: number, otherwise: number): number[] =>
  Array.isArray(value) ? (value as number[]) : Array<number>(rank).fill(typeof value === "number" ? value : otherwise);

const symmetric = (value: unknown, rank: number): [number, number][] => perAxis(value, rank, 0).map((p) => [p, p]);

const channelsLast = (x: Tensor, f: (x: Tensor) => Tensor): Tensor => f(x.moveAxis(0, -1)).moveAxis(-1, 0);

/** Something per channel, for channels first. */
const perChannel = (values: Tensor, x: Tensor): Tensor => values.reshape([-1, ...Array<number>(x.rank - 1).fill(1)]);

const addBias = (x: Tensor, bias: Tensor | undefined): Tensor => (bias ? x.add(bias) : x);

const dense = (x: Tensor, weight: Tensor, bias: Tensor | undefined): Tensor =>
  addBias(x.dot(weight, { contract: [[x.rank - 1], [1]] }), bias);

const standardized = (x: Tensor, axis: number[]): Tensor =>
  x.sub(x.mean({ axis, keepDims: true })).mul(x.variance({ axis, keepDims: true }).add(1e-5).rsqrt());

const lastAxes = (x: Tensor, count: number): number[] => Array.from({ length: count }, (_, i) => x.rank - count + i);

const convolution: Layer = (x, { stride, padding, dilation, groups }, { get, find }) => {
  const rank = x.rank - 1;
  const kernel = get("weight").permute([...lastAxes(get("weight"), rank), 1, 0]);
  const options = {
    stride: perAxis(stride, rank, 1),
    dilation: perAxis(dilation, rank, 1),
    padding: symmetric(padding, rank),
    groups: (groups as number | undefined) ?? 1,
  };
  return channelsLast(x, (image) => addBias(conv(image, kernel, options), find("bias")));
};

const transposedConvolution: Layer = (x, { stride, padding, dilation, groups, outputPadding }, { get, find }) => {
  const rank = x.rank - 1;
  const kernel = get("weight").permute([...lastAxes(get("weight"), rank), 0, 1]);
  const options = {
    stride: perAxis(stride, rank, 1),
    dilation: perAxis(dilation, rank, 1),
    padding: symmetric(padding, rank),
    groups: (groups as number | undefined) ?? 1,
    outputPadding: perAxis(outputPadding, rank, 0),
  };
  return channelsLast(x, (image) => addBias(convTranspose(image, kernel, options), find("bias")));
};

/** A transposed convolution as a convolution: zeros between the elements of the input, the kernel flipped. */
const stretchedConvolution: Layer = (x, { stride, padding, dilation, groups, outputPadding }, { get, find }) => {
  const weight = get("weight");
  const rank = x.rank - 1;
  const count = (groups as number | undefined) ?? 1;
  const [strides, gaps, margins, extra] = [
    perAxis(stride, rank, 1),
    perAxis(dilation, rank, 1),
    perAxis(padding, rank, 0),
    perAxis(outputPadding, rank, 0),
  ];
  const [ins, outs, ...sizes] = weight.shape as [number, number, ...number[]];
  // [in, out / groups, …] to […, in / groups, out].
  const kernel = weight
    .flip(lastAxes(weight, rank))
    .reshape([count, ins / count, outs, ...sizes])
    .permute([...sizes.map((_, axis) => axis + 3), 1, 0, 2])
    .reshape([...sizes, ins / count, count * outs]);
  const stretched = strides.reduce((value, by, axis) => {
    const extent = value.shape[axis + 1] as number;
    const zeros = value
      .expandDims(axis + 2)
      .pad([
        ...value.shape.slice(0, axis + 2).map(() => [0, 0] as const),
        [0, by - 1],
        ...value.shape.slice(axis + 2).map(() => [0, 0] as const),
      ]);
    const shape = value.shape.map((own, at) => (at === axis + 1 ? extent * by : own));
    return zeros.reshape(shape).slice(
      shape.map(() => 0),
      shape.map((own, at) => (at === axis + 1 ? own - by + 1 : own)),
    );
  }, x);
  const options = {
    dilation: gaps,
    groups: count,
    padding: sizes.map((size, axis): [number, number] => {
      const before = (gaps[axis] as number) * (size - 1) - (margins[axis] as number);
      return [before, before + (extra[axis] as number)];
    }),
  };
  return channelsLast(stretched, (image) => addBias(conv(image, kernel, options), find("bias")));
};

const pooling =
  (pool: typeof averagePool): Layer =>
  (x, { kernel, stride, padding }) => {
    const rank = x.rank - 1;
    const window = perAxis(kernel, rank, 1);
    const options = {
      window,
      stride: stride === undefined ? window : perAxis(stride, rank, 1),
      padding: symmetric(padding, rank),
    };
    return channelsLast(x, (image) => pool(image, options));
  };

/** Averages over windows from floor(i·in/out) to ceil((i+1)·in/out), as a matrix per axis. */
const adaptiveAveragePooling: Layer = (x, { output }) => {
  const extents = perAxis(output, x.rank - 1, 1);
  return extents.reduce((value, extent, axis) => {
    const from = value.shape[axis + 1] as number;
    const rows = Array.from({ length: extent }, (_, i) => {
      const [start, end] = [Math.floor((i * from) / extent), Math.ceil(((i + 1) * from) / extent)];
      return Array.from({ length: from }, (_, j) => (j >= start && j < end ? 1 : 0));
    });
    const sizes = tensor(rows.map((row) => row.filter(Boolean).length));
    const summed = value.dot(tensor(rows), { contract: [[axis + 1], [1]] }).div(sizes);
    return summed.moveAxis(-1, axis + 1);
  }, x);
};

/** One step per token; `cell` gives the next state, whose first part is what is put out. */
function recurrence(x: Tensor, states: Tensor[], cell: (token: Tensor, states: Tensor[]) => Tensor[]): Tensor {
  const outputs: Tensor[] = [];
  let current = states;
  for (let t = 0; t < (x.shape[0] as number); t++) {
    current = cell(x.slice([t], [t + 1]).squeeze([0]), current);
    outputs.push(current[0] as Tensor);
  }
  return stack(outputs);
}

const preactivation = (token: Tensor, hidden: Tensor, { get, find }: LayerParams): Tensor =>
  dense(token, get("weight_ih_l0"), find("bias_ih_l0")).add(dense(hidden, get("weight_hh_l0"), find("bias_hh_l0")));

const lstm: Layer = (x, _spec, params) => {
  const size = params.get("weight_hh_l0").shape[1] as number;
  const zero = tensor(new Float32Array(size));
  return recurrence(x, [zero, zero], (token, [hidden, memory]) => {
    const gates = preactivation(token, hidden as Tensor, params);
    const [input, forget, candidate, output] = [0, 1, 2, 3].map((i) => gates.slice([i * size], [(i + 1) * size])) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const next = forget
      .sigmoid()
      .mul(memory as Tensor)
      .add(input.sigmoid().mul(candidate.tanh()));
    return [output.sigmoid().mul(next.tanh()), next];
  });
};

const rnn: Layer = (x, _spec, params) => {
  const zero = tensor(new Float32Array(params.get("weight_hh_l0").shape[1] as number));
  return recurrence(x, [zero], (token, [hidden]) => [preactivation(token, hidden as Tensor, params).tanh()]);
};

const attention: Layer = (x, { heads, causal }, { get, find }) => {
  const [tokens, dim] = x.shape as [number, number];
  const count = heads as number;
  const normed = standardized(x, [1]).mul(get("norm.weight")).add(get("norm.bias"));
  const split = (name: string) =>
    dense(normed, get(`${name}.weight`), find(`${name}.bias`))
      .reshape([tokens, count, dim / count])
      .moveAxis(1, 0);
  const scores = split("q")
    .matmul(split("k").transpose())
    .mul(1 / Math.sqrt(dim / count));
  const seen = iota(scores.shape, 2).lessEqual(iota(scores.shape, 1));
  const mixed = softmax(causal ? seen.where(scores, -1e30) : scores).matmul(split("v"));
  return x.add(dense(mixed.moveAxis(0, 1).reshape([tokens, dim]), get("o.weight"), find("o.bias")));
};

const layerKinds: Readonly<Record<string, Layer>> = {
  linear: (x, _spec, { get, find }) => dense(x, get("weight"), find("bias")),
  conv1d: convolution,
  conv2d: convolution,
  conv3d: convolution,
  convTranspose1d: transposedConvolution,
  convTranspose2d: transposedConvolution,
  convTranspose3d: transposedConvolution,
  maxPool1d: pooling(maxPool),
  maxPool2d: pooling(maxPool),
  maxPool3d: pooling(maxPool),
  avgPool1d: pooling(averagePool),
  avgPool2d: pooling(averagePool),
  avgPool3d: pooling(averagePool),
  adaptiveAvgPool2d: adaptiveAveragePooling,
  tanh: (x) => x.tanh(),
  relu: (x) => x.relu(),
  sigmoid: (x) => x.sigmoid(),
  elu: (x) => x.greater(0).where(x, x.minimum(0).expm1()),
  selu: (x) => x.greater(0).where(x, x.minimum(0).expm1().mul(1.6732632423543772)).mul(1.0507009873554805),
  leakyRelu: (x) => x.greater(0).where(x, x.mul(0.125)),
  logSigmoid: (x) => x.neg().softplus().neg(),
  gelu: (x) => x.mul(x.mul(Math.SQRT1_2).erf().add(1)).mul(0.5),
  softplus: (x) => x.softplus(),
  silu: (x) => x.mul(x.sigmoid()),
  identity: (x) => x,
  flatten: (x) => x.flatten(),
  batchNorm2d: (x, _spec, { get }) => {
    const [mean, variance, scale, offset] = ["running_mean", "running_var", "weight", "bias"].map((name) =>
      perChannel(get(name), x),
    ) as [Tensor, Tensor, Tensor, Tensor];
    return x.sub(mean).mul(variance.add(1e-5).rsqrt()).mul(scale).add(offset);
  },
  groupNorm: (x, { groups }, { get }) => {
    const blocks = standardized(x.reshape([groups as number, -1]), [1]).reshape(x.shape);
    return blocks.mul(perChannel(get("weight"), x)).add(perChannel(get("bias"), x));
  },
  layerNorm: (x, _spec, { get }) =>
    standardized(x, lastAxes(x, get("weight").rank))
      .mul(get("weight"))
      .add(get("bias")),
  embedding: (x, _spec, { get }) => get("weight").gather(x, { axis: 0 }),
  lstm,
  rnn,
  // Recurrent layers give all hidden states; this is what the files call taking them.
  sequenceOutput: (x) => x,
  transposeTokens: (x) => x.transpose(),
  meanTokens: (x) => x.mean({ axis: 0 }),
  attention,
};
