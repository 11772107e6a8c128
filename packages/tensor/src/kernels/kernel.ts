import { Emitter } from "../compiler/emit";
import { iterationNames } from "../compiler/loops";
import type { CompileTarget } from "../compiler/target";
import type { PipelineSpec, StorageAccess } from "../device/pipeline-cache";
import { bytesPerElement, storageType } from "../dtype";
import { invariant } from "../errors";
import type { Tensor } from "../tensor";
import type { Index } from "../view";
import { mathSource, needsRuntime } from "./math.wgsl";

/** What a kernel reads and writes. */
export interface KernelTensors {
  readonly reads: readonly Tensor[];
  readonly writes: readonly Tensor[];
  /** For results written in place of a tensor that is read: that tensor. Both are one binding. */
  readonly inPlace: ReadonlyMap<Tensor, Tensor>;
  readonly isStored: (node: Tensor) => boolean;
  /** See {@link CompileTarget}. */
  readonly keepsLoops: boolean;
  /** Where the elements of a result begin in its buffer; default 0. */
  readonly offset?: (node: Tensor) => Index | undefined;
  readonly broadcastLanes: number;
}

/** One kernel ready for the device, with the tensors of its bindings. */
export interface Kernel {
  readonly spec: PipelineSpec;
  /** Tensors behind the bindings, in order; two for a binding that is updated in place. */
  readonly bindings: readonly (readonly Tensor[])[];
  /** For a kernel over segments: the tensors behind each binding, segment by segment; see compiler/segments.ts. */
  readonly segments?: readonly (readonly (readonly Tensor[])[] | undefined)[];
  readonly workgroups: readonly [number, number, number];
  /** Floating-point operations, for profiles. */
  readonly flops: number;
  /** Bytes of all bindings once each, for profiles. */
  readonly bytes: number;
}

/** Everything that a kernel touches, with the access of its binding: a result comes with the tensor that it replaces. */
export const boundTensors = ({
  spec,
  bindings,
  segments,
}: Kernel): { readonly access: StorageAccess; readonly tensors: readonly Tensor[] }[] =>
  bindings.flatMap((own, index) =>
    (segments?.[index] ?? [own]).map((tensors) => ({ access: spec.bindings[index] as StorageAccess, tensors })),
  );

/** What one cluster becomes: a kernel by itself, or a part of one. See {@link assemble}. */
export interface KernelPart {
  /** Names the kernel in profiles and messages, like `dot_f32_64x64x16`. */
  readonly label: string;
  readonly slots: readonly Slot[];
  /** For every slot: are its elements loaded and stored as vectors of four? */
  readonly vectors: readonly boolean[];
  readonly statements: KernelStatements;
  /** Invocations of a workgroup. */
  readonly workgroupSize: number;
  readonly workgroups: number;
  readonly flops: number;
  readonly bytes: number;
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
  /** Arrays in workgroup memory. */
  readonly arrays?: readonly WorkgroupArray[];
  /** Functions, constants and workgroup variables of its own. Such a kernel is never packed with others. */
  readonly declarations?: string;
  /**
   * Several workgroups can run as blocks of a larger one, although they exchange values: statements know the number of
   * their block, `own_block`, and index their arrays with it first, and every invocation comes to every barrier.
   */
  readonly isDivisible?: boolean;
}

/** An array in workgroup memory; what elements it has is a WGSL type of 4, 8 or 16 bytes. */
export interface WorkgroupArray {
  readonly name: string;
  readonly type: string;
  readonly length: number;
}

/** A binding: a tensor that is read, or a result with the tensor that it replaces. */
export interface Slot {
  readonly name: string;
  readonly access: StorageAccess;
  readonly tensors: readonly Tensor[];
  /** In a kernel over segments, those of every segment; `tensors` are the first one's. They lie in one buffer. */
  readonly segments?: readonly (readonly Tensor[])[] | undefined;
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
    name: nameOf(index, slot.access),
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
    ...(tensors.offset && { offset: tensors.offset }),
  });
}

/** A binding of a kernel, and the names under which its parts know it. */
interface Binding {
  readonly slot: Slot;
  /** Of an element. */
  readonly type: string;
  readonly names: Map<KernelPart, string>;
}

/** The bindings of all parts: those that read one tensor in one type share theirs. */
export function jointBindings(parts: readonly KernelPart[]): Binding[] {
  const bindings: Binding[] = [];
  for (const part of parts) {
    for (const [index, slot] of part.slots.entries()) {
      const [node] = slot.tensors as readonly [Tensor];
      const type = part.vectors[index] ? `vec4<${storageType[node.dtype]}>` : storageType[node.dtype];
      const isRead = slot.access === "read";
      const known = bindings.find(
        (other) => isRead && other.slot.access === "read" && other.slot.tensors[0] === node && other.type === type,
      );
      if (known === undefined) bindings.push({ slot, type, names: new Map([[part, slot.name]]) });
      else known.names.set(part, slot.name);
    }
  }
  return bindings;
}

const nameOf = (index: number, access: StorageAccess): string => `${access === "read" ? "in" : "out"}${index}`;

/**
 * Invocations of a workgroup in which all the parts can run; undefined if there is no such number. Divisible parts
 * also run in larger ones, several of their workgroups in one.
 */
export function jointWorkgroupSize(parts: readonly KernelPart[]): number | undefined {
  const largest = Math.max(...parts.map(({ workgroupSize }) => workgroupSize));
  const fits = parts.every(
    (part) => part.workgroupSize === largest || (isDivisible(part) && largest % part.workgroupSize === 0),
  );
  return fits ? largest : undefined;
}

const isDivisible = ({ statements }: KernelPart): boolean =>
  statements.isDivisible ||
  (statements.arrays === undefined && statements.declarations === undefined && !statements.body.includes("subgroup"));

/** Arrays in workgroup memory of all parts, and what each part calls them. */
interface JointArrays {
  readonly declarations: string;
  readonly names: ReadonlyMap<KernelPart, ReadonlyMap<string, string>>;
  readonly bytes: number;
}

/** A workgroup runs one of the parts, so that arrays of equal types serve all of them. */
export function jointArrays(parts: readonly KernelPart[]): JointArrays {
  const largest = Math.max(...parts.map(({ workgroupSize }) => workgroupSize));
  const declared: { readonly name: string; readonly type: string; readonly bytes: number }[] = [];
  const names = new Map<KernelPart, Map<string, string>>();
  for (const part of parts) {
    const { arrays = [], isDivisible } = part.statements;
    const blocks = isDivisible ? largest / part.workgroupSize : 1;
    const own = new Map<string, string>();
    for (const { name, type, length } of arrays) {
      const one = `array<${type}, ${length}>`;
      const whole = isDivisible ? `array<${one}, ${blocks}>` : one;
      const taken = new Set(own.values());
      let found = declared.find((other) => other.type === whole && !taken.has(other.name));
      if (found === undefined) {
        found = { name: `shared${declared.length}`, type: whole, bytes: bytesOfType(type) * length * blocks };
        declared.push(found);
      }
      own.set(name, found.name);
    }
    names.set(part, own);
  }
  return {
    declarations: declared.map(({ name, type }) => `var<workgroup> ${name}: ${type};`).join("\n"),
    names,
    bytes: declared.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function bytesOfType(type: string): number {
  const scalar = type.includes("f16") ? 2 : 4;
  return type.startsWith("vec4") ? 4 * scalar : scalar;
}

/** One kernel of parts that do not need each other: workgroups are dealt out to the parts in order. */
export function assemble(parts: readonly KernelPart[], target: CompileTarget): Kernel {
  const bindings = jointBindings(parts);
  const workgroupSize = jointWorkgroupSize(parts);
  invariant(workgroupSize, "parts of a kernel share a size of workgroups");
  const arrays = jointArrays(parts);
  const texts = parts.map((part) => {
    const names = new Map(arrays.names.get(part));
    for (const [index, { slot, names: own }] of bindings.entries()) {
      const name = own.get(part);
      if (name !== undefined) names.set(name, nameOf(index, slot.access));
    }
    const text = part.statements.body.replace(/\b[a-z]\w*\b/g, (name) => names.get(name) ?? name);
    const known = iterationsIn(text).map((level) => `  let iteration${level} = i32(loop${level}.number);\n`);
    return known.join("") + text;
  });
  const iterations = iterationsIn(texts.join("\n"));
  const functions = new Set(parts.flatMap(({ statements }) => [...statements.functions]));
  const vectorFunctions = new Set(parts.flatMap(({ statements }) => [...statements.vectorFunctions]));
  const own = [arrays.declarations, ...parts.map(({ statements }) => statements.declarations ?? "")].join("\n");
  const all = texts.join("\n") + own;
  const opaque = all.includes("opaque_bits(");
  const uniforms = opaque || needsRuntime([...functions, ...vectorFunctions]) || all.includes("runtime.zero");
  const usesF16 = bindings.some(({ type }) => type.includes("f16")) || /\bf16\b/.test(all);
  const usesSubgroups = all.includes("subgroup");
  const lane = usesSubgroups ? { parameter: ", subgroup_lane: u32", argument: ", subgroup_lane" } : undefined;
  const code = [
    // Kernels that exchange values know better than the analysis that all lanes of a subgroup go the same way.
    ...(usesSubgroups ? ["enable subgroups;", "diagnostic(off, subgroup_uniformity);"] : []),
    ...(usesF16 ? ["enable f16;"] : []),
    ...(iterations.length > 0 ? ["struct Iteration { number: u32 }"] : []),
    ...iterations.map((level) => `@group(1) @binding(${level + 1}) var<uniform> loop${level}: Iteration;`),
    ...(uniforms ? ["struct Runtime { zero: u32 }", "@group(1) @binding(0) var<uniform> runtime: Runtime;"] : []),
    ...bindings.map(
      ({ slot, type }, index) =>
        `@group(0) @binding(${index}) var<storage, ${slot.access}> ${nameOf(index, slot.access)}: array<${type}>;`,
    ),
    ...(opaque ? ["fn opaque_bits(bits: u32) -> f32 { return bitcast<f32>(bits ^ runtime.zero); }"] : []),
    mathSource(functions, vectorFunctions, target.isSoftware),
    own,
    ...(parts.length === 1
      ? []
      : texts.map(
          (text, part) =>
            `fn part${part}(number: u32, local: u32, own_block: u32${lane?.parameter ?? ""}) {\n${text}\n}`,
        )),
    `@compute @workgroup_size(${workgroupSize})`,
    "fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,",
    ...(usesSubgroups ? ["        @builtin(subgroup_invocation_id) subgroup_lane: u32,"] : []),
    "        @builtin(local_invocation_index) local: u32) {",
    "  let number = group.y * groups.x + group.x;",
    ...(parts.length === 1 && texts[0]?.includes("[own_block]") ? ["  const own_block = 0u;"] : []),
    parts.length === 1 ? (texts[0] as string) : dealOut(parts, workgroupSize, lane?.argument ?? ""),
    "}",
  ];
  return {
    spec: {
      label: parts.map(({ label }) => label).join(" & "),
      code: `${code.filter((line) => line !== "").join("\n")}\n`,
      workgroupSize: [workgroupSize],
      bindings: bindings.map(({ slot }) => slot.access),
      uniforms: iterations.length > 0 ? Math.max(...iterations) + 1 : uniforms,
    },
    bindings: bindings.map(({ slot }) => slot.tensors),
    ...(bindings.some(({ slot }) => slot.segments) && { segments: bindings.map(({ slot }) => slot.segments) }),
    workgroups: splitGrid(
      parts.reduce((sum, part) => sum + workgroupsIn(part, workgroupSize), 0),
      target,
    ),
    flops: parts.reduce((sum, { flops }) => sum + flops, 0),
    bytes: bytesOf(new Set(bindings.flatMap(({ slot }) => slot.segments?.flat() ?? slot.tensors))),
  };
}

/** The loops whose iteration numbers a text mentions. */
const iterationsIn = (text: string): number[] =>
  [...new Set([...text.matchAll(iterationNames)].map(([, level]) => Number(level)))].sort();

/** Workgroups of a size that a part takes. */
const workgroupsIn = ({ workgroups, workgroupSize }: KernelPart, size: number): number =>
  Math.ceil((workgroups * workgroupSize) / size);

/** Statements that hand every workgroup to a part, with its number there. */
function dealOut(parts: readonly KernelPart[], size: number, more: string): string {
  let first = 0;
  const calls = parts.map((part, index) => {
    const several = size / part.workgroupSize;
    const own =
      several === 1
        ? `number - ${first}u, local, 0u`
        : `(number - ${first}u) * ${several}u + local / ${part.workgroupSize}u, local % ${part.workgroupSize}u, ` +
          `local / ${part.workgroupSize}u`;
    first += workgroupsIn(part, size);
    const call = `part${index}(${own}${more});`;
    return index === parts.length - 1 ? `{ ${call} }` : `if (number < ${first}u) { ${call} }`;
  });
  return `  ${calls.join(" else ")}`;
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
