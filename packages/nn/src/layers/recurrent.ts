/**
 * Cells of recurrent networks. A cell is one step: `step(params, carry, x)` gives the next carry and an output; {@link
 * unroll} applies it along a sequence.
 */
import {
  formatShape,
  type Key,
  type MapLeaves,
  type Shape,
  ShapeError,
  scan,
  splitKeys,
  type Tensor,
  zeros as zerosOf,
} from "@thalweg/tensor";
import { type Initializer, uniform } from "../initializers";
import { type InputSpec, namedRoles, type Role } from "../module";

/** One step of a recurrence. */
export interface Cell<P extends object, C> {
  readonly kind: string;
  /** Parameters for inputs `[batch, in]`. */
  init(key: Key, input: InputSpec): P;
  /** The carry before the first step: zeros. */
  initialCarry(batch: number): C;
  /** @param x - `[batch, in]` */
  step(params: P, carry: C, x: Tensor): readonly [carry: C, output: Tensor];
  roles(params: P): MapLeaves<P, Tensor, Role>;
}

export interface CellOptions {
  /** Extent of the hidden state. */
  readonly features: number;
  /** Default: uniform within ±1 / sqrt(features), as in PyTorch. */
  readonly kernelInit?: Initializer;
  /** Default: uniform within ±1 / sqrt(features), as in PyTorch. */
  readonly biasInit?: Initializer;
}

/** Hidden state and cell state, each `[batch, features]`. */
export type LstmCarry = { readonly hidden: Tensor; readonly cell: Tensor };

export type LstmParams = {
  /** `[in, 4 · features]`, gates in PyTorch's order: input, forget, cell, output. */
  readonly inputKernel: Tensor;
  /** `[features, 4 · features]` */
  readonly hiddenKernel: Tensor;
  /** `[4 · features]`; PyTorch adds two biases, whose sum this is. */
  readonly bias: Tensor;
};

export interface LstmOptions extends CellOptions {
  /** Added to the initial bias of the forget gate. Default 0; TensorFlow's cell acts as 1. */
  readonly forgetBias?: number;
}

/**
 * Long short-term memory. With [i, f, g, o] = x · inputKernel + h · hiddenKernel + bias:
 * c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), the output is h'.
 *
 * @see Hochreiter and Schmidhuber (1997); Gers et al. (2000) for the forget gate
 */
export function lstmCell({ features, kernelInit, biasInit, forgetBias = 0 }: LstmOptions): Cell<LstmParams, LstmCarry> {
  const around = defaultInit(features);
  return {
    kind: "lstmCell",
    init(key, { shape }) {
      const [first, second, third] = splitKeys(key, 3) as [Key, Key, Key];
      const bias = (biasInit ?? around)(third, [4 * features]);
      return {
        inputKernel: (kernelInit ?? around)(first, [inputsOf("lstmCell", shape), 4 * features]),
        hiddenKernel: (kernelInit ?? around)(second, [features, 4 * features]),
        bias: forgetBias === 0 ? bias : bias.add(gateOffset(bias, features, forgetBias)),
      };
    },
    initialCarry: (batch) => ({ hidden: zerosOf([batch, features]), cell: zerosOf([batch, features]) }),
    step({ inputKernel, hiddenKernel, bias }, { hidden, cell }, x) {
      checkInput("lstmCell", x, inputKernel);
      const gates = x.dot(inputKernel).add(hidden.dot(hiddenKernel)).add(bias);
      const [i, f, g, o] = cut(gates, 4, features) as [Tensor, Tensor, Tensor, Tensor];
      const nextCell = f.sigmoid().mul(cell).add(i.sigmoid().mul(g.tanh()));
      const nextHidden = o.sigmoid().mul(nextCell.tanh());
      return [{ hidden: nextHidden, cell: nextCell }, nextHidden];
    },
    roles: namedRoles({ inputKernel: "weight", hiddenKernel: "weight", bias: "bias" }),
  };
}

export type GruParams = {
  /** `[in, 3 · features]`, gates in PyTorch's order: reset, update, new. */
  readonly inputKernel: Tensor;
  /** `[features, 3 · features]` */
  readonly hiddenKernel: Tensor;
  /** `[3 · features]` */
  readonly inputBias: Tensor;
  /** `[3 · features]`; apart from the input's, because the reset gate multiplies its last third. */
  readonly hiddenBias: Tensor;
};

/**
 * Gated recurrent unit in PyTorch's form. With a = x · inputKernel + inputBias and b = h · hiddenKernel + hiddenBias, each cut
 * into [r, z, n]: r = σ(aᵣ + bᵣ), z = σ(a_z + b_z), n = tanh(aₙ + r bₙ), h' = (1 - z) n + z h, the output is h'.
 *
 * The carry is h, `[batch, features]`.
 *
 * @see Cho et al. (2014), who apply r before the product with the kernel
 */
export function gruCell({ features, kernelInit, biasInit }: CellOptions): Cell<GruParams, Tensor> {
  const around = defaultInit(features);
  return {
    kind: "gruCell",
    init(key, { shape }) {
      const keys = splitKeys(key, 4) as [Key, Key, Key, Key];
      return {
        inputKernel: (kernelInit ?? around)(keys[0], [inputsOf("gruCell", shape), 3 * features]),
        hiddenKernel: (kernelInit ?? around)(keys[1], [features, 3 * features]),
        inputBias: (biasInit ?? around)(keys[2], [3 * features]),
        hiddenBias: (biasInit ?? around)(keys[3], [3 * features]),
      };
    },
    initialCarry: (batch) => zerosOf([batch, features]),
    step({ inputKernel, hiddenKernel, inputBias, hiddenBias }, hidden, x) {
      checkInput("gruCell", x, inputKernel);
      const fromInput = cut(x.dot(inputKernel).add(inputBias), 3, features) as [Tensor, Tensor, Tensor];
      const fromHidden = cut(hidden.dot(hiddenKernel).add(hiddenBias), 3, features) as [Tensor, Tensor, Tensor];
      const reset = fromInput[0].add(fromHidden[0]).sigmoid();
      const update = fromInput[1].add(fromHidden[1]).sigmoid();
      const candidate = fromInput[2].add(reset.mul(fromHidden[2])).tanh();
      // (1 - z) n + z h
      const next = candidate.add(update.mul(hidden.sub(candidate)));
      return [next, next];
    },
    roles: namedRoles({ inputKernel: "weight", hiddenKernel: "weight", inputBias: "bias", hiddenBias: "bias" }),
  };
}

/**
 * Applies a cell along axis 1 of `[batch, time, in]`.
 *
 * The cell is traced and compiled once, whatever the length of the sequence (see `scan` of `@thalweg/tensor`).
 *
 * @returns The last carry, and the outputs `[batch, time, features]`.
 */
export function unroll<P extends object, C>(
  cell: Cell<P, C>,
  params: P,
  xs: Tensor,
  carry: C = cell.initialCarry(xs.shape[0] ?? 1),
): readonly [carry: C, outputs: Tensor] {
  if (xs.rank !== 3 || xs.shape[1] === 0) {
    throw new ShapeError(
      `unroll: the input is ${formatShape(xs.shape)}. Give [batch, time, in] with at least one step.`,
    );
  }
  const [last, outputs] = scan((current: C, x: Tensor) => cell.step(params, current, x), carry, xs.moveAxis(1, 0));
  return [last, outputs.moveAxis(0, 1)];
}

const defaultInit = (features: number): Initializer => {
  const limit = 1 / Math.sqrt(features);
  return uniform({ low: -limit, high: limit });
};

const inputsOf = (kind: string, shape: Shape): number => {
  const inputs = shape.at(-1);
  if (inputs === undefined) throw new ShapeError(`${kind}: the input is a scalar. Give [batch, in].`);
  return inputs;
};

/** Cuts the last axis into equal parts. */
const cut = (x: Tensor, parts: number, features: number): Tensor[] =>
  Array.from({ length: parts }, (_, part) => {
    const front = x.shape.slice(0, -1);
    return x.slice([...front.map(() => 0), part * features], [...front, (part + 1) * features]);
  });

/** `value` in the forget gate's quarter, 0 elsewhere. */
const gateOffset = (bias: Tensor, features: number, value: number): Tensor => {
  const position = bias.iotaLike(0);
  return position
    .greaterEqual(features)
    .and(position.less(2 * features))
    .where(bias.fullLike(value), 0);
};

function checkInput(kind: string, x: Tensor, kernel: Tensor): void {
  if (x.shape.at(-1) === kernel.shape[0]) return;
  throw new ShapeError(
    `${kind}: input ${formatShape(x.shape)} does not fit inputKernel ${formatShape(kernel.shape)} ` +
      `(axis ${x.rank - 1}: ${x.shape.at(-1)}, expected ${kernel.shape[0]})`,
  );
}
