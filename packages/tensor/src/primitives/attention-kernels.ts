/**
 * The kernels of fused attention as nodes. They come into being when the compiler expands attention and its gradient, so
 * nothing differentiates or batches them: those rules belong to what was expanded.
 */
import type { CompileTarget } from "../compiler/target";
import { invariant, UnsupportedError } from "../errors";
import {
  type AttentionSpec,
  fitsFused,
  forwardKernel,
  keyGradientsKernel,
  queryGradientKernel,
  tileExtent,
} from "../kernels/attention.wgsl";
import type { Tensor } from "../tensor";
import type { Argument, AttentionOperands, AttentionParams } from "./attention";
import { type Aval, definePrimitive, type KernelInput, type Primitive, type WrittenKernel } from "./definition";

interface KernelParams {
  readonly scale: number;
  readonly causal: boolean;
  /** Is there a mask behind q, k and v? */
  readonly masked: boolean;
}

const noRule = (): never => invariant(false, "kernels of attention exist in compiled graphs only") as never;

function kernelNode(
  name: string,
  packed: (extents: { n: number; m: number; d: number; e: number }) => number,
  write: (inputs: NamedInputs, spec: AttentionSpec) => WrittenKernel,
): Primitive<KernelParams> {
  return definePrimitive<KernelParams>({
    name,
    shape([q, _k, v]) {
      const [query, value] = [q as Aval, v as Aval];
      const [n, d] = query.shape.slice(-2) as [number, number];
      const [m, e] = value.shape.slice(-2) as [number, number];
      return { shape: [...query.shape.slice(0, -2), packed({ n, m, d, e })], dtype: "f32" };
    },
    lowering: {
      kind: "kernel",
      strided: true,
      kernel(inputs, _output, params, target) {
        const [q, k, v, ...rest] = inputs as [KernelInput, KernelInput, KernelInput, ...KernelInput[]];
        const mask = params.masked ? rest.shift() : undefined;
        const [g, saved] = rest as [KernelInput, KernelInput];
        return write({ q, k, v, mask, g, saved }, specFor(params, target));
      },
    },
    reference: noRule,
    vjp: noRule,
    jvp: noRule,
    batch: noRule,
    sample: noRule,
  });
}

interface NamedInputs {
  readonly q: KernelInput;
  readonly k: KernelInput;
  readonly v: KernelInput;
  readonly mask: KernelInput | undefined;
  readonly g: KernelInput;
  readonly saved: KernelInput;
}

const specFor = (
  { scale, causal }: Pick<AttentionParams, "scale" | "causal">,
  { maxWorkgroupBytes, maxInvocationsPerWorkgroup, isSoftware }: CompileTarget,
): AttentionSpec => ({ scale, causal, maxWorkgroupBytes, maxInvocations: maxInvocationsPerWorkgroup, isSoftware });

const forward = kernelNode("attentionForward", ({ n, e }) => n * (e + 2), forwardKernel);
const queryGradient = kernelNode("attentionQueryGradient", ({ n, d }) => n * (d + 3), queryGradientKernel);
const keyGradients = kernelNode("attentionKeyGradients", ({ m, d, e }) => m * (d + e), keyGradientsKernel);

/**
 * Is attention computed by the kernels that store no scores? Where the caller says so; else on GPUs, unless a side of the
 * score matrix is shorter than half a tile: most of a tile would be computed for nothing. CPU adapters take the composition:
 * a barrier costs them as much as a tile, and the recomputed scores are arithmetic, which is what they lack.
 *
 * @throws UnsupportedError if the kernels are asked for and the device has not the workgroup memory for so many features.
 */
export function isFused({ q, v }: AttentionOperands<Aval>, params: AttentionParams, target: CompileTarget): boolean {
  const [n, d] = q.shape.slice(-2) as [number, number];
  const [m, e] = v.shape.slice(-2) as [number, number];
  if (params.form === "composed" || n === 0 || m === 0) return false;
  const fits = fitsFused(Math.max(d, e), specFor(params, target));
  if (params.form === "fused") {
    if (fits) return true;
    throw new UnsupportedError(
      `attention: the fused form does not fit ${Math.max(d, e)} features per head into ${target.maxWorkgroupBytes} bytes ` +
        'of workgroup memory. Leave the form to the compiler: form "auto".',
    );
  }
  return fits && !target.isSoftware && Math.min(n, m) >= tileExtent / 2;
}

/** A part of what a kernel packed into the last axis, with own axes instead. */
function unpack(packed: Tensor, start: number, shape: readonly number[], like: Tensor): Tensor {
  const leading = packed.shape.slice(0, -1);
  const size = shape.reduce((product, extent) => product * extent, 1);
  return packed
    .slice([...leading.map(() => 0), start], [...leading, start + size])
    .reshape([...leading, ...shape])
    .cast(like.dtype);
}

interface Prepared {
  readonly inputs: readonly Tensor[];
  readonly params: KernelParams;
}

const prepare = ({ q, k, v, mask }: AttentionOperands<Tensor>, { scale, causal }: AttentionParams): Prepared => ({
  inputs: [q, k, v, ...(mask === undefined ? [] : [mask])],
  params: { scale, causal, masked: mask !== undefined },
});

/** The result of attention, by the forward kernel. */
export function fusedAttention(operands: AttentionOperands<Tensor>, params: AttentionParams): Tensor {
  const { q, v } = operands;
  const own = prepare(operands, params);
  const shape = [q.shape.at(-2) as number, v.shape.at(-1) as number];
  return unpack(q.bind(forward, own.inputs, own.params), 0, shape, q);
}

/**
 * A gradient of attention, by the backward kernels. They share the forward kernel with the result if that is computed in
 * the same program: equal nodes are one.
 */
export function fusedGradient(
  operands: AttentionOperands<Tensor>,
  cotangent: Tensor,
  params: AttentionParams,
  of: Exclude<Argument, "mask">,
): Tensor {
  const { q, k, v } = operands;
  const own = prepare(operands, params);
  const saved = q.bind(forward, own.inputs, own.params);
  const byQuery = q.bind(queryGradient, [...own.inputs, cotangent, saved], own.params);
  if (of === "q") return unpack(byQuery, 0, q.shape.slice(-2), q);
  const byKeys = q.bind(keyGradients, [...own.inputs, cotangent, byQuery], own.params);
  return of === "k"
    ? unpack(byKeys, 0, k.shape.slice(-2), k)
    : unpack(
        byKeys,
        k.shape.slice(-2).reduce((a, b) => a * b),
        v.shape.slice(-2),
        v,
      );
}
