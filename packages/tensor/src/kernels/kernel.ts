import { Emitter } from "../compiler/emit";
import type { CompileTarget } from "../compiler/target";
import type { PipelineSpec, StorageAccess } from "../device/pipeline-cache";
import { bytesPerElement, storageType } from "../dtype";
import type { Tensor } from "../tensor";
import { mathSource, needsRuntime } from "./math.wgsl";

/** What a kernel reads and writes. */
export interface KernelTensors {
  readonly reads: readonly Tensor[];
  readonly writes: readonly Tensor[];
  /** For results written in place of a tensor that is read: that tensor. Both are one binding. */
  readonly inPlace: ReadonlyMap<Tensor, Tensor>;
  readonly isStored: (node: Tensor) => boolean;
  readonly keepsLoops: boolean;
}

/** A kernel ready for the device, with the tensors of its bindings. */
export interface Kernel {
  readonly spec: PipelineSpec;
  /** Tensors behind the bindings, in order; two for a binding that is updated in place. */
  readonly bindings: readonly (readonly Tensor[])[];
  readonly workgroups: readonly [number, number, number];
  /** Floating-point operations, for profiles. */
  readonly flops: number;
  /** Bytes of all bindings once each, for profiles. */
  readonly bytes: number;
}

interface Slot {
  readonly name: string;
  readonly access: StorageAccess;
  readonly tensors: readonly Tensor[];
}

/** One binding per buffer: inputs, then results. */
export function bindingSlots({ reads, writes, inPlace }: KernelTensors): Slot[] {
  const replaced = new Set(inPlace.values());
  const inputs = reads
    .filter((node) => !replaced.has(node))
    .map((node): Omit<Slot, "name"> => ({ access: "read", tensors: [node] }));
  const results = writes.map((node): Omit<Slot, "name"> => {
    const before = inPlace.get(node);
    return { access: "read_write", tensors: before === undefined ? [node] : [node, before] };
  });
  return [...inputs, ...results].map((slot, index) => ({
    ...slot,
    name: slot.access === "read" ? `in${index}` : `out${index}`,
  }));
}

/** An emitter for the given tensors, with loads as vectors for those for which `isVector` says so. */
export function makeEmitter(
  tensors: KernelTensors,
  slots: readonly Slot[],
  isVector: (node: Tensor) => boolean,
): Emitter {
  const names = new Map(slots.flatMap(({ name, tensors: own }) => own.map((node) => [node, name] as const)));
  return new Emitter({
    isStored: tensors.isStored,
    keepsLoops: tensors.keepsLoops,
    bufferName: (node) => names.get(node) as string,
    isVector,
  });
}

/**
 * The parts of a kernel's text. The statements know `number`, the number of this workgroup, and `local`, that of this
 * invocation in it (both u32). Grids are rounded up: numbers beyond the last workgroup must do nothing.
 */
export interface KernelStatements {
  readonly body: string;
  /** Names of math functions that are called with scalars, and with vectors. */
  readonly functions: Iterable<string>;
  readonly vectorFunctions: Iterable<string>;
  /** Functions, constants and workgroup variables of its own. */
  readonly declarations?: string;
}

/** The whole text of a kernel around its statements. */
export function kernelText(
  slots: readonly Slot[],
  { body, functions, vectorFunctions, declarations: own = "" }: KernelStatements,
  isVector: (node: Tensor) => boolean,
  workgroupSize: readonly number[],
): { readonly code: string; readonly uniforms: boolean } {
  const names = [...functions, ...vectorFunctions];
  const opaque = body.includes("opaque_bits(") || own.includes("opaque_bits(");
  const uniforms = opaque || needsRuntime(names) || body.includes("runtime.zero");
  const declarations = slots.map(({ name, access, tensors }, index) => {
    const [node] = tensors as readonly [Tensor];
    const type = storageType[node.dtype];
    return `@group(0) @binding(${index}) var<storage, ${access}> ${name}: array<${isVector(node) ? `vec4<${type}>` : type}>;`;
  });
  const usesF16 =
    slots.some(({ tensors }) => tensors.some((node) => node.dtype === "f16")) || /\bf16\b/.test(own + body);
  const code = [
    ...(usesF16 ? ["enable f16;"] : []),
    ...(uniforms ? ["struct Runtime { zero: u32 }", "@group(1) @binding(0) var<uniform> runtime: Runtime;"] : []),
    ...declarations,
    ...(opaque ? ["fn opaque_bits(bits: u32) -> f32 { return bitcast<f32>(bits ^ runtime.zero); }"] : []),
    mathSource(functions, vectorFunctions),
    own,
    `@compute @workgroup_size(${workgroupSize.join(", ")})`,
    "fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,",
    "        @builtin(local_invocation_index) local: u32) {",
    "  let number = group.y * groups.x + group.x;",
    body,
    "}",
  ];
  return { code: `${code.filter((line) => line !== "").join("\n")}\n`, uniforms };
}

/** Spreads a number of workgroups over x and y so that no dimension exceeds the limit. */
export function splitGrid(count: number, target: CompileTarget): [number, number, number] {
  if (count <= target.maxWorkgroups) return [count, 1, 1];
  const rows = Math.ceil(count / target.maxWorkgroups);
  return [Math.ceil(count / rows), rows, 1];
}

/** WGSL for the number of this invocation in a grid made by {@link splitGrid}. */
export const invocationNumber = (workgroupSize: number): string => `i32(number * ${workgroupSize}u + local)`;

/** Bytes that one pass over the tensors moves. */
export const bytesOf = (nodes: Iterable<Tensor>): number =>
  [...nodes].reduce((sum, node) => sum + node.size * bytesPerElement[node.dtype], 0);
