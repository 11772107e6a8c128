/** The networks of the K-FAC and operator files, written with plain tensor operations. */
import { conv, type DType, iota, placeholder, softmax, type Tensor, tensor } from "@thalweg/tensor";
import type { NdArray } from "@thalweg/tensor/testing";
import { binaryCrossEntropy, type CurvatureProblem, crossEntropy, type OutputLoss, squaredError } from "../src/index";

/** A tensor in a file of reference values. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: readonly number[];
  readonly dtype?: "i32";
}

export type Params = Readonly<Record<string, Tensor>>;

/** One tensor, or the parts of a graph. */
export type Inputs = Tensor | Readonly<Record<string, Tensor>>;

export interface StoredProblem {
  readonly model: { readonly kind: string; readonly config: Readonly<Record<string, unknown>> };
  readonly loss: { readonly kind: string; readonly reduction: "mean" | "sum" };
  readonly params: Readonly<Record<string, StoredTensor>>;
  readonly inputs: StoredTensor | Readonly<Record<string, StoredTensor>>;
  readonly targets: StoredTensor;
}

/** Makes a tensor of stored numbers. */
export type Load = (stored: StoredTensor) => Tensor;

/** Data for the device: f32. */
export const load: Load = ({ shape, data, dtype }) =>
  tensor(dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data), { shape });

/** Data for the reference in float64, without rounding: bindings of placeholders. */
export function exactLoader(): { readonly load: Load; readonly bindings: Map<Tensor, NdArray> } {
  const bindings = new Map<Tensor, NdArray>();
  return {
    bindings,
    load({ shape, data, dtype: stored }) {
      const dtype: DType = stored ?? "f32";
      const own = placeholder(shape, dtype);
      bindings.set(own, { shape, dtype, values: Float64Array.from(data) });
      return own;
    },
  };
}

export const loadAll = (stored: Readonly<Record<string, StoredTensor>>, from: Load = load): Params =>
  Object.fromEntries(Object.entries(stored).map(([name, value]) => [name, from(value)]));

const isStored = (value: object): value is StoredTensor => "data" in value;

export const loadInputs = (stored: StoredProblem["inputs"], from: Load = load): Inputs =>
  isStored(stored) ? from(stored) : loadAll(stored, from);

const losses: Readonly<Record<string, OutputLoss>> = { crossEntropy, squaredError, binaryCrossEntropy };

/** The problem of a file. */
export function problemOf({ model, loss }: Pick<StoredProblem, "model" | "loss">): CurvatureProblem<Params, Inputs> {
  const run = models[model.kind];
  const own = losses[loss.kind];
  if (run === undefined || own === undefined) {
    throw new TypeError(`The model "${model.kind}" or the loss "${loss.kind}" of the file is not known.`);
  }
  return {
    model: (params, inputs) => run(params, inputs as never, model.config as never),
    loss: own,
    reduction: loss.reduction,
  };
}

const activations: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  tanh: (x) => x.tanh(),
  relu: (x) => x.relu(),
  identity: (x) => x,
  gelu: (x) => x.mul(x.mul(Math.SQRT1_2).erf().add(1)).mul(0.5),
  sigmoid: (x) => x.sigmoid(),
};

const activation = (name: unknown): ((x: Tensor) => Tensor) => {
  const found = activations[(name ?? "identity") as string];
  if (found === undefined) throw new TypeError(`The activation "${name}" of the file is not known.`);
  return found;
};

/** y = x Wᵀ + b on the last axis, W `[out, in]`. */
function dense(params: Params, name: string, x: Tensor): Tensor {
  const y = x.dot(params[`${name}.W`] as Tensor, { contract: [[x.rank - 1], [1]] });
  const bias = params[`${name}.b`];
  return bias === undefined ? y : y.add(bias);
}

/** A convolution of channels-first images `[N, C, H, W]` with a kernel `[out, in / groups, k, k]`, to channels last. */
function convolution(params: Params, name: string, x: Tensor, spec: ConvolutionSpec): Tensor {
  const kernel = (params[`${name}.W`] as Tensor).permute([2, 3, 1, 0]);
  const y = conv(x, kernel, {
    stride: spec.stride,
    padding: spec.padding.map((own): [number, number] => [own, own]),
    dilation: spec.dilation,
    groups: spec.groups,
  });
  const bias = params[`${name}.b`];
  return bias === undefined ? y : y.add(bias);
}

interface ConvolutionSpec {
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
  readonly groups: number;
}

const pooled = (x: Tensor, pool: unknown): Tensor => {
  if (pool === "mean") return x.mean({ axis: 1 });
  return pool === "sum" ? x.sum({ axis: 1 }) : x;
};

function layerNorm(params: Params, name: string, x: Tensor): Tensor {
  const [mean, variance] = [x.mean({ axis: -1, keepDims: true }), x.variance({ axis: -1, keepDims: true })];
  const normal = x.sub(mean).mul(variance.add(1e-5).rsqrt());
  return normal.mul(params[`${name}.gamma`] as Tensor).add(params[`${name}.beta`] as Tensor);
}

interface VitConfig {
  readonly dim: number;
  readonly heads: number;
  readonly patch: number;
  readonly pool: string;
  readonly causal?: boolean;
}

type Model = (params: Params, inputs: never, config: never) => Tensor;

const models: Readonly<Record<string, Model>> = {
  mlp(params, x: Tensor, { dims, act, pool }: { dims: readonly number[]; act: string; pool?: string }) {
    const last = dims.length - 2;
    const outputs = dims.slice(1).reduce((value, _, layer) => {
      const y = dense(params, `l${layer}`, value);
      return layer < last ? activation(act)(y) : y;
    }, x);
    return pooled(outputs, pool);
  },
  cnn(
    params,
    x: Tensor,
    { convs, act, pool, classes }: { convs: readonly ConvolutionSpec[]; act: string; pool: string; classes?: number },
  ) {
    const features = convs.reduce(
      (value, spec, layer) => {
        const y = convolution(params, `c${layer}`, value, spec);
        return layer < convs.length - 1 || classes ? activation(act)(y) : y;
      },
      x.permute([0, 2, 3, 1]),
    );
    const [examples, , , channels] = features.shape as [number, number, number, number];
    const positions = pooled(features.reshape([examples, -1, channels]), pool);
    return classes ? dense(params, "head", positions) : positions;
  },
  vit(params, x: Tensor, { dim, heads, patch, pool, causal = false }: VitConfig) {
    const spec = { stride: [patch, patch], padding: [0, 0], dilation: [1, 1], groups: 1 };
    const patches = convolution(params, "patch", x.permute([0, 2, 3, 1]), spec);
    const examples = patches.shape[0] as number;
    let h = patches.reshape([examples, -1, dim]).add(params.pos as Tensor);
    const tokens = h.shape[1] as number;
    const normed = layerNorm(params, "ln1", h);
    const split = (name: string) =>
      dense(params, name, normed)
        .reshape([examples, tokens, heads, dim / heads])
        .permute([0, 2, 1, 3]);
    const scores = split("q")
      .matmul(split("k").transpose())
      .mul(1 / Math.sqrt(dim / heads));
    const seen = iota(scores.shape, 3).lessEqual(iota(scores.shape, 2));
    const mixed = softmax(causal ? seen.where(scores, -1e30) : scores).matmul(split("v"));
    h = h.add(dense(params, "o", mixed.permute([0, 2, 1, 3]).reshape([examples, tokens, dim])));
    const gelu = activation("gelu");
    h = h.add(dense(params, "m2", gelu(dense(params, "m1", layerNorm(params, "ln2", h)))));
    return dense(params, "head", pooled(layerNorm(params, "ln3", h), pool));
  },
  gnn(
    params,
    { features, adjacency, mask }: Readonly<Record<"features" | "adjacency" | "mask", Tensor>>,
    { dims, act, pool }: { dims: readonly number[]; act: string; pool: string },
  ) {
    const real = mask.expandDims(2);
    const nodes = dims
      .slice(1)
      .reduce((h, _, layer) => activation(act)(dense(params, `g${layer}`, adjacency.matmul(h))).mul(real), features);
    const total = nodes.sum({ axis: 1 });
    return dense(params, "head", pool === "mean" ? total.div(mask.sum({ axis: 1, keepDims: true })) : total);
  },
  tied(params, x: Tensor, { times, act }: { times: number; act: string }) {
    const h = Array.from({ length: times }).reduce<Tensor>((value) => activation(act)(dense(params, "rec", value)), x);
    return dense(params, "head", h);
  },
  embed(params, tokens: Tensor, { act, pool }: { act: string; pool: string }) {
    const vectors = (params["emb.W"] as Tensor).transpose().gather(tokens, { axis: 0 });
    return dense(params, "head", pooled(activation(act)(vectors), pool));
  },
};
