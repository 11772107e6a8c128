/**
 * Writes the statements of a kernel: values of nodes at symbolic coordinates.
 *
 * Every value and every part of an index is written in the outermost block in which what it depends on is known, so
 * that nothing is computed in an inner loop that does not change there. Equal texts share one variable.
 *
 * With a *lane* variable (0 to 3) in the coordinates, values are vectors of four: neighbours in memory are loaded at
 * once, values that do not depend on the lane stay scalars, and everything else is put together from four scalars.
 */
import { computeType, type DType } from "../dtype";
import { invariant } from "../errors";
import { type ExpressionContext, loweringOf } from "../primitives/definition";
import type { Tensor } from "../tensor";
import {
  type Atom,
  addIndex,
  constantIndex,
  dependsOn,
  divideIndex,
  type Guard,
  type Index,
  isMultipleOf,
  linearFactor,
  linearize,
  substitute,
  variableIndex,
} from "../view";

/** The variable over the four elements of a vector. */
export const laneName = "lane";
export const laneIndex: Index = variableIndex(laneName, 0, 3);

export interface Value {
  readonly code: string;
  readonly width: 1 | 4;
  readonly dtype: DType;
  /** Depth of the innermost block that the value depends on. */
  readonly depth: number;
}

interface Block {
  readonly lines: string[];
  readonly names: Map<string, string>;
}

/** What the emitter must know of the kernel around it. */
export interface EmitterOptions {
  /** Is the node in memory (as opposed to computed where it is read)? */
  readonly isStored: (node: Tensor) => boolean;
  /** Name of the storage variable of a node. */
  readonly bufferName: (node: Tensor) => string;
  /** Are elements of the node loaded and stored as vectors of four? */
  readonly isVector: (node: Tensor) => boolean;
  /** Where a node begins in its binding, in elements and as a multiple of four; default: at its start. */
  readonly offset?: (node: Tensor) => Index | undefined;
  /** Do loops stay loops, whatever the driver would make of them? See {@link CompileTarget.keepsLoops}. */
  readonly keepsLoops?: boolean;
  /** Told of every load: the position in the node, and whether it is read under a guard. */
  readonly onLoad?: (position: Index, isGuarded: boolean) => void;
}

const vector = (type: string): string => `vec4<${type}>`;
const indent = (depth: number): string => "  ".repeat(depth + 1);

export class Emitter {
  /** Names of math functions that are called with scalars, and with vectors. */
  readonly functions = new Set<string>();
  readonly vectorFunctions = new Set<string>();
  /** Nodes of which neighbours were wanted together and lie together in memory. */
  readonly vectorLoads = new Set<Tensor>();
  /** How often a vector had to be put together from scalars that do not lie together. */
  splits = 0;

  readonly #options: EmitterOptions;
  readonly #blocks: Block[] = [{ lines: [], names: new Map() }];
  /** Depth of the block in which a loop or data-dependent variable is declared. */
  readonly #depths = new Map<string, number>();
  /** Values of nodes of this kernel that are in variables. */
  /** The lane whose scalar is being written, while four of them are. */
  #lane: number | undefined;
  readonly #registers = new Map<Tensor, Value>();
  #guard: { readonly code: string; readonly depth: number } | undefined;
  #next = 0;

  constructor(options: EmitterOptions) {
    this.#options = options;
  }

  /** Are loops worth writing where statements one after another would do? */
  get keepsLoops(): boolean {
    return this.#options.keepsLoops ?? false;
  }

  get depth(): number {
    return this.#blocks.length - 1;
  }

  /** Writes a line into the innermost block. */
  line(text: string): void {
    this.#block(this.depth).lines.push(indent(this.depth) + text);
  }

  /** The text of the outermost block. */
  text(): string {
    invariant(this.#blocks.length === 1, "all blocks are closed");
    return this.#block(0).lines.join("\n");
  }

  /** What a kernel's text is made of. */
  statements(): { readonly body: string; readonly functions: Set<string>; readonly vectorFunctions: Set<string> } {
    return { body: this.text(), functions: this.functions, vectorFunctions: this.vectorFunctions };
  }

  #block(depth: number): Block {
    return this.#blocks[depth] as Block;
  }

  fresh(prefix: string): string {
    return `${prefix}${this.#next++}`;
  }

  /** Declares an integer variable that exists in the current block. */
  declare(name: string): void {
    this.#depths.set(name, this.depth);
  }

  /** Runs `body` in a block opened by `head`. */
  block(head: string, body: () => void): void {
    this.#blocks.push({ lines: [], names: new Map() });
    body();
    const { lines } = this.#blocks.pop() as Block;
    // The head is written last: what the body moved out of the block stands before it.
    this.line(head);
    this.#block(this.depth).lines.push(...lines);
    this.line("}");
  }

  /** A loop over a variable from 0 up to an extent; a loop of one iteration is no loop. */
  loop(name: string, extent: number, body: (variable: Index) => void): void {
    if (extent === 1) {
      body(constantIndex(0));
      return;
    }
    const bound = this.keepsLoops ? this.#bind("extent", `${extent} + i32(runtime.zero)`, 0) : String(extent);
    this.block(`for (var ${name} = 0; ${name} < ${bound}; ${name}++) {`, () => {
      this.declare(name);
      body(variableIndex(name, 0, extent - 1));
    });
  }

  /** Puts an expression into a variable of the outermost block where it is known. */
  #bind(prefix: string, expression: string, depth: number): string {
    for (let outer = depth; outer <= this.depth; outer++) {
      const known = this.#block(outer).names.get(expression);
      if (known !== undefined) return known;
    }
    const { lines, names } = this.#block(depth);
    const name = this.fresh(prefix);
    lines.push(`${indent(depth)}let ${name} = ${expression};`);
    names.set(expression, name);
    return name;
  }

  #atomDepth(atom: Atom): number {
    return atom.kind === "variable" ? (this.#depths.get(atom.key) ?? 0) : this.#indexDepth(atom.of);
  }

  #indexDepth(index: Index): number {
    return Math.max(0, ...index.terms.map(({ atom }) => this.#atomDepth(atom)));
  }

  /** An i32 expression; sums are grouped by the block they belong to, so that each part is added up once. */
  index(index: Index): { readonly code: string; readonly depth: number } {
    const depth = this.#indexDepth(index);
    const parts = new Map<number, string[]>();
    for (const { factor, atom } of index.terms) {
      const own = this.#atomDepth(atom);
      const text = this.#atom(atom);
      const list = parts.get(own) ?? [];
      list.push(factor === 1 ? text : `${text} * ${factor}`);
      parts.set(own, list);
    }
    let code = index.constant === 0 ? "" : String(index.constant);
    for (const own of [...parts.keys()].sort((a, b) => a - b)) {
      const sum = [...(code === "" ? [] : [code]), ...(parts.get(own) as string[])].join(" + ");
      code = /^\w+$/.test(sum) ? sum : this.#bind("ix", sum, own);
    }
    // A negative constant by itself is typed: as a literal, u32(-1) would be refused.
    const alone = index.terms.length === 0 && index.constant < 0;
    return { code: alone ? `i32(${code})` : code === "" ? "0" : code, depth };
  }

  #atom(atom: Atom): string {
    if (atom.kind === "variable") return atom.key;
    const inner = this.index(atom.of);
    // Floor division, which WGSL has for unsigned numbers only: a multiple of the divisor makes the operand one.
    const turns = Math.max(0, Math.ceil(-atom.of.low / atom.divisor));
    const operand = turns === 0 ? `u32(${inner.code})` : `u32(${inner.code} + ${turns * atom.divisor})`;
    const text =
      atom.kind === "remainder"
        ? `i32(${operand} % ${atom.divisor}u)`
        : `i32(${operand} / ${atom.divisor}u)${turns === 0 ? "" : ` - ${turns}`}`;
    return this.#bind("ix", text, inner.depth);
  }

  #guardCode(guards: readonly Guard[]): { readonly code: string; readonly depth: number } {
    let depth = 0;
    const tests = guards.map((guard) => {
      const { code, depth: own } = this.index(guard.index);
      depth = Math.max(depth, own);
      if (guard.kind === "divisible") return `(${code} % ${guard.divisor} == 0)`;
      const bounds = [
        ...(guard.index.low < guard.low ? [`${code} >= ${guard.low}`] : []),
        ...(guard.index.high >= guard.high ? [`${code} < ${guard.high}`] : []),
      ];
      return `(${bounds.join(" && ")})`;
    });
    return { code: this.#bind("inside", tests.join(" && "), depth), depth };
  }

  /** The value of a node in a variable, for members of this kernel that come later. */
  setRegister(node: Tensor, value: Value): void {
    this.#registers.set(node, value);
  }

  /** The value of a node at coordinates, loaded or computed. */
  value(node: Tensor, at: readonly Index[]): Value {
    const register = this.#registers.get(node);
    if (register !== undefined) {
      if (this.#lane === undefined || register.width === 1) return register;
      return { ...register, code: `${register.code}[${this.#lane}]`, width: 1 };
    }
    return this.#options.isStored(node) ? this.#load(node, at) : this.compute(node, at);
  }

  /** The value computed from the node's inputs, even if the node is stored. */
  compute(node: Tensor, at: readonly Index[]): Value {
    const { lowering } = node.primitive;
    switch (lowering.kind) {
      case "generator": {
        const generated = lowering.generate(at, node.params);
        return "value" in generated
          ? constant(generated.value, node.dtype)
          : this.#generated(generated.index, node.dtype);
      }
      case "elementwise":
        return this.#elementwise(
          node,
          node.inputs.map((input) => this.value(input, at)),
        );
      case "movement":
        return this.#moved(node, at);
      case "gather":
        return this.#gathered(node, at);
      case "barrier":
        return this.value(node.inputs[0] as Tensor, at);
      case "leaf":
        return this.#load(node, at);
      default:
        return invariant(false, `${node.primitive.name} is computed by its own kernel`) as never;
    }
  }

  #elementwise(node: Tensor, args: readonly Value[]): Value {
    const lowering = loweringOf(node, "elementwise");
    invariant(lowering, "an elementwise node");
    const width = args.some((arg) => arg.width === 4) ? 4 : 1;
    const depth = Math.max(0, ...args.map((arg) => arg.depth));
    const codes = args.map((arg) => (arg.width === width ? arg.code : splat(arg)));
    const context: ExpressionContext = {
      width,
      inputs: node.inputs.map((input) => input.dtype),
      output: node.dtype,
      call: (name, ...operands) => this.call(name, width, ...operands),
      literal: (value, dtype) => {
        const text = literal(value, dtype);
        return width === 4 ? `${vector(computeType[dtype])}(${text})` : text;
      },
    };
    const code = this.#bind("v", lowering.expression(codes, context, node.params), depth);
    return { code, width, dtype: node.dtype, depth };
  }

  /** A call of one of the functions in kernels/math.wgsl.ts, applied to every lane. */
  call(name: string, width: 1 | 4, ...operands: readonly string[]): string {
    (width === 4 ? this.vectorFunctions : this.functions).add(name);
    return `${name}${width === 4 ? "_x4" : ""}(${operands.join(", ")})`;
  }

  #generated(index: Index, dtype: DType): Value {
    if (dependsOn(index, laneName)) return this.#fourScalars([index], ([at]) => this.#generated(at as Index, dtype));
    const { code, depth } = this.index(index);
    const type = computeType[dtype];
    const text = type === "i32" ? code : type === "bool" ? `(${code} != 0)` : `${type}(${code})`;
    return { code: text === code ? code : this.#bind("v", text, depth), width: 1, dtype, depth };
  }

  #moved(node: Tensor, at: readonly Index[]): Value {
    const movement = loweringOf(node, "movement");
    invariant(movement, "a movement");
    const input = node.inputs[0] as Tensor;
    const { coordinates, guards } = movement.move(at, input.shape, node.params);
    const open = guards.filter((guard) => guard !== undefined);
    if (open.length === 0) return this.value(input, coordinates);
    if (open.some((guard) => dependsOn(guard.index, laneName))) {
      this.splits++;
      return this.#fourScalars(at, (scalar) => this.#moved(node, scalar));
    }
    const test = this.#guardCode(open);
    const outer = this.#guard;
    const both =
      outer === undefined
        ? test
        : {
            code: this.#bind("inside", `${outer.code} && ${test.code}`, Math.max(outer.depth, test.depth)),
            depth: Math.max(outer.depth, test.depth),
          };
    this.#guard = both;
    const inside = this.value(input, coordinates);
    this.#guard = outer;
    const fill = constant(movement.fill(node.params), node.dtype);
    const depth = Math.max(inside.depth, test.depth);
    const code = `select(${inside.width === 4 ? splat(fill) : fill.code}, ${inside.code}, ${test.code})`;
    return { code: this.#bind("v", code, depth), width: inside.width, dtype: node.dtype, depth };
  }

  #gathered(node: Tensor, at: readonly Index[]): Value {
    const gather = loweringOf(node, "gather");
    invariant(gather, "a gather");
    const [x, indices] = node.inputs as [Tensor, Tensor];
    const axis = gather.axis(node.params);
    const inner = at.slice(axis, axis + indices.rank);
    if (inner.some((index) => dependsOn(index, laneName))) {
      this.splits++;
      return this.#fourScalars(at, (scalar) => this.#gathered(node, scalar));
    }
    const position = this.value(indices, inner);
    const last = (x.shape[axis] as number) - 1;
    const clamped =
      position.dtype === "u32" ? `i32(min(${position.code}, ${last}u))` : `clamp(${position.code}, 0, ${last})`;
    const name = this.#bind("taken", clamped, position.depth);
    this.#depths.set(name, position.depth);
    return this.value(x, [...at.slice(0, axis), variableIndex(name, 0, last), ...at.slice(axis + indices.rank)]);
  }

  /** A vector of the values at the four lanes. */
  #fourScalars(at: readonly Index[], scalar: (at: readonly Index[]) => Value): Value {
    const lanes = [0, 1, 2, 3].map((lane) => {
      this.#lane = lane;
      const value = scalar(at.map((index) => substitute(index, new Map([[laneName, constantIndex(lane)]]))));
      this.#lane = undefined;
      return value;
    });
    const [first] = lanes as [Value];
    const depth = Math.max(...lanes.map((lane) => lane.depth));
    const code = `${vector(computeType[first.dtype])}(${lanes.map((lane) => lane.code).join(", ")})`;
    return { code: this.#bind("v", code, depth), width: 4, dtype: first.dtype, depth };
  }

  #load(node: Tensor, at: readonly Index[]): Value {
    const position = this.#placed(node, linearize(at, node.shape));
    this.#options.onLoad?.(position, this.#guard !== undefined);
    if (!dependsOn(position, laneName)) return this.#loadScalar(node, position);
    const start = substitute(position, new Map([[laneName, constantIndex(0)]]));
    const consecutive = linearFactor(position, laneName) === 1 && isMultipleOf(start, 4);
    if (!consecutive) this.splits++;
    else this.vectorLoads.add(node);
    if (!consecutive || !this.#options.isVector(node)) {
      return this.#fourScalars([position], ([scalar]) => this.#loadScalar(node, scalar as Index));
    }
    const { code, depth } = this.#guarded(divideIndex(start, 4));
    return this.#converted(node, `${this.#options.bufferName(node)}[${code}]`, 4, depth);
  }

  #loadScalar(node: Tensor, position: Index): Value {
    const name = this.#options.bufferName(node);
    if (!this.#options.isVector(node)) {
      const { code, depth } = this.#guarded(position);
      return this.#converted(node, `${name}[${code}]`, 1, depth);
    }
    const { code, depth } = this.#guarded(position);
    return this.#converted(node, `${name}[u32(${code}) / 4u][u32(${code}) % 4u]`, 1, depth);
  }

  /** The index, or 0 where a guard says that the element does not exist. */
  #guarded(index: Index): { readonly code: string; readonly depth: number } {
    const plain = this.index(index);
    if (this.#guard === undefined) return plain;
    const depth = Math.max(plain.depth, this.#guard.depth);
    return { code: this.#bind("ix", `select(0, ${plain.code}, ${this.#guard.code})`, depth), depth };
  }

  #converted(node: Tensor, load: string, width: 1 | 4, depth: number): Value {
    const wide = (type: string) => (width === 4 ? vector(type) : type);
    const code =
      node.dtype === "f16"
        ? `${wide("f32")}(${load})`
        : node.dtype === "bool"
          ? `(${load} != ${wide("u32")}(0u))`
          : load;
    return { code: this.#bind("v", code, depth), width, dtype: node.dtype, depth };
  }

  #placed(node: Tensor, position: Index): Index {
    const offset = this.#options.offset?.(node);
    return offset === undefined ? position : addIndex(position, offset);
  }

  /** Writes a value to the element (or, with a lane in the position, to the four elements) of a stored node. */
  store(node: Tensor, inside: Index, value: Value, condition?: string): void {
    const position = this.#placed(node, inside);
    const name = this.#options.bufferName(node);
    const isWide = dependsOn(position, laneName);
    const start = isWide ? substitute(position, new Map([[laneName, constantIndex(0)]])) : position;
    const lines: string[] = [];
    if (this.#options.isVector(node)) {
      invariant(isWide && isMultipleOf(start, 4), "vectors are stored at multiples of four");
      const code = value.width === 4 ? value.code : splat(value);
      lines.push(`${name}[${this.index(divideIndex(start, 4)).code}] = ${toStorage(code, node.dtype, 4)};`);
    } else if (isWide) {
      for (const lane of [0, 1, 2, 3]) {
        const at = substitute(position, new Map([[laneName, constantIndex(lane)]]));
        const part = value.width === 4 ? `${value.code}[${lane}]` : value.code;
        lines.push(`${name}[${this.index(at).code}] = ${toStorage(part, node.dtype, 1)};`);
      }
    } else {
      lines.push(`${name}[${this.index(position).code}] = ${toStorage(value.code, node.dtype, 1)};`);
    }
    if (condition === undefined) for (const text of lines) this.line(text);
    else this.line(`if (${condition}) { ${lines.join(" ")} }`);
  }
}

const toStorage = (code: string, dtype: DType, width: 1 | 4): string => {
  const wide = (type: string) => (width === 4 ? vector(type) : type);
  if (dtype === "bool") return `select(${wide("u32")}(0u), ${wide("u32")}(1u), ${code})`;
  return dtype === "f16" ? `${wide("f16")}(${code})` : code;
};

/** A scalar in all four lanes. */
export const splat = (value: Value): string => `${vector(computeType[value.dtype])}(${value.code})`;

const constant = (value: number, dtype: DType): Value => ({ code: literal(value, dtype), width: 1, dtype, depth: 0 });

const floatBits = new Float32Array(1);
const floatWords = new Uint32Array(floatBits.buffer);

/** A constant as WGSL text. Infinities and NaN are refused by the language as constants: their bits pass. */
export function literal(value: number, dtype: DType): string {
  switch (computeType[dtype]) {
    case "bool":
      return value ? "true" : "false";
    case "i32":
      return value === -(2 ** 31) ? "i32(-2147483647 - 1)" : `i32(${Math.trunc(value)})`;
    case "u32":
      return `${Math.trunc(value) >>> 0}u`;
    case "f32": {
      const rounded = Math.fround(value);
      if (!Number.isFinite(rounded)) {
        floatBits[0] = rounded;
        return `opaque_bits(${floatWords[0]}u)`;
      }
      if (Object.is(rounded, -0)) return "-0.0";
      const text = String(rounded);
      return /[.e]/.test(text) ? `f32(${text})` : `f32(${text}.0)`;
    }
  }
}
