/** Finds out whether the uncertain parameters are a last layer: outputs that are W x + b, however it is written. */
import {
  type Equation,
  equationsBetween,
  identity,
  sizeOf,
  type Tensor,
  treeFlatten,
  treeLeaves,
} from "@thalweg/tensor";
import { type BlockOptions, blocksOf, type KroneckerBlock, type LinearTap } from "../kronecker/blocks";
import { follow, isBijective, type Step } from "../kronecker/layout";
import { usesOfParameters } from "../kronecker/uses";
import { type CurvatureProblem, exampleOutputs } from "../problem";
import type { Uncertain } from "./uncertain";

/** A last layer, as the precisions see it. */
export interface HeadLayer {
  /** Positions of weight and bias among the uncertain tensors. */
  readonly weight: number;
  readonly bias: number | undefined;
  readonly ins: number;
  readonly outs: number;
  /** The weight as `[out, in]`. */
  toMatrix(leaf: Tensor): Tensor;
  /** The bias as `[out]`. */
  toRows(leaf: Tensor): Tensor;
}

/** The last layer of one example's graph. */
export interface Head extends HeadLayer {
  /** `[M, C]`. */
  readonly outputs: Tensor;
  /** Its inputs at each of R positions: `[R, in]`. */
  readonly inputs: Tensor;
  /** From `[R, out]` to the places of the outputs: `[M, C]`. */
  place(x: Tensor): Tensor;
}

const options: Omit<BlockOptions, "terms"> = { flavour: "expand", maxDenseRows: 0 };

/** The uncertain tensors as the last layer of a model; undefined if they are more, less or something else. */
export function headOf<X>(problem: CurvatureProblem<Uncertain, X>, uncertain: Uncertain, example: X): Head | undefined {
  const { leaves, paths } = treeFlatten<Tensor>(uncertain);
  const roots = leaves.map(identity);
  const names = paths.map(([name]) => name as string);
  const own = Object.fromEntries(roots.map((root, index) => [names[index], root])) as Uncertain;
  const outputs = exampleOutputs(problem, own, example);
  const found = usesOfParameters(roots, treeLeaves<Tensor>(example), [outputs]);
  const described = roots.map(({ shape }, index) => ({ path: paths[index] as readonly string[], shape }));
  const [block, ...rest] = blocksOf(found, described, { ...options, terms: outputs.shape[0] as number });
  if (block?.kind !== "kronecker" || rest.length > 0 || block.layout.groups !== 1 || block.taps.length !== 1) {
    return undefined;
  }
  if (found.uses.length !== roots.length) return undefined;
  const tap = block.taps[0] as LinearTap;
  const steps = stepsTo(outputs, tap.output, block, roots, found.readers);
  if (steps === undefined) return undefined;
  const { layout, weight, bias } = block;
  return {
    outputs,
    weight: weight.index,
    bias: bias?.index,
    ins: layout.ins,
    outs: layout.outs,
    toMatrix: (leaf) => layout.toMatrix(leaf).reshape([layout.outs, layout.ins]),
    toRows: (leaf) => (bias === undefined ? leaf : bias.rows.toRows(leaf).flatten()),
    inputs: inRows(tap.activations, tap.input, layout.ins),
    place(x) {
      const { groups, shared, features } = tap.result;
      const order = [...groups, ...shared, ...features];
      const extents = order.map((axis) => tap.output.shape[axis] as number);
      const back = order.map((_, axis) => order.indexOf(axis));
      return follow(steps, x.reshape(extents).permute(back));
    },
  };
}

function inRows(x: Tensor, { groups, shared, features }: LinearTap["input"], ins: number): Tensor {
  return x.permute([...groups, ...shared, ...features]).reshape([sizeOf(x.shape) / ins, ins]);
}

/** The movements from the layer's product to the outputs, past its bias and what else is added that is certain. */
function stepsTo(
  outputs: Tensor,
  start: Tensor,
  { bias }: KroneckerBlock,
  roots: readonly Tensor[],
  readers: ReadonlyMap<Tensor, readonly (Equation | undefined)[]>,
): readonly Step[] | undefined {
  const dependent = new Set([...roots, ...equationsBetween(roots, [outputs]).flatMap((own) => own.outputs)]);
  const steps: Step[] = [];
  let isBiasAdded = bias === undefined;
  for (let at = start; at !== outputs; ) {
    const list = readers.get(at) ?? [];
    const [reader] = list;
    const [result] = reader?.outputs ?? [];
    if (list.length !== 1 || reader === undefined || result === undefined) return undefined;
    const { primitive, inputs, params } = reader;
    if (primitive.lowering.kind === "movement") {
      const step = { primitive, params: params[0] };
      if (!isBijective([step])) return undefined;
      steps.push(step);
    } else if (primitive.name === "add" && inputs.length === 2 && inputs[0] !== inputs[1]) {
      // The one other thing here that depends on the uncertain tensors is the bias, of which this is the only use.
      if (dependent.has(inputs[inputs[0] === at ? 1 : 0] as Tensor)) {
        if (isBiasAdded) return undefined;
        isBiasAdded = true;
      }
    } else if (primitive.lowering.kind !== "alias" || primitive.name === "stopGradient") return undefined;
    at = result;
  }
  return isBiasAdded ? steps : undefined;
}
