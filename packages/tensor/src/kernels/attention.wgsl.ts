/**
 * Fused attention that stores no scores: the text of three kernels.
 *
 * Each workgroup owns 32 *rows* of the score matrix of one head and walks over tiles of 32 *columns*:
 *
 * | kernel        | rows    | columns | computes                                                       |
 * | ------------- | ------- | ------- | -------------------------------------------------------------- |
 * | forward       | queries | keys    | o = softmax(s) v by running maximum and sum, kept per row       |
 * | queryGradient | queries | keys    | D = Σ do ∘ o, dq = ds k, with p = softmax(s), ds = p ∘ (do vᵀ − D) |
 * | keyGradients  | keys    | queries | dv = pᵀ do, dk = dsᵀ q                                          |
 *
 * The scores are computed once more in each of the two backward kernels, instead of summing one of the gradients with
 * atomics: every sum has a fixed order. Causal attention skips the tiles in which nothing is visible.
 *
 * The built-in exp serves: its error of (3 + 2|x|) ulp on x <= 0 is at most 3 units of rounding of the largest weight, and
 * an accurate one would cost as much as a third of the products.
 *
 * One invocation has 4 rows, 8 apart, times 4, 2 or 1 columns of a tile in registers, the rows as the lanes of vectors;
 * and its share of 4 rows of the result. Operands are staged in workgroup memory as f32, whole or in chunks of columns,
 * rows padded by one vector against bank conflicts; weights go through workgroup memory to become an operand. Traffic:
 * per 32 rows, both column operands once; arithmetic per workgroup-memory load: 8 multiply-adds.
 *
 * @see Dao, FlashAttention-2: faster attention with better parallelism and work partitioning (2023), algorithms 1 and 2
 */
import type { Aval, KernelInput, WrittenKernel } from "../primitives/definition";
import { type Shape, sizeOf } from "../shape";

/** What all three kernels know. */
export interface AttentionSpec {
  readonly scale: number;
  readonly causal: boolean;
  /** Bytes of workgroup memory, and invocations in a workgroup. */
  readonly maxWorkgroupBytes: number;
  readonly maxInvocations: number;
  readonly isSoftware: boolean;
}

/** Rows and columns of a tile of scores. */
export const tileExtent = 32;

/** Groups of rows: each invocation has the rows of one group. */
const rowGroups = 8;

interface Layout {
  /** Groups of columns; an invocation has `tileExtent / columnGroups` columns of scores. */
  readonly columnGroups: number;
  readonly threads: number;
  /** Vectors of four in a row of a staged chunk. */
  readonly width: number;
  /** Every operand has its own place, and what does not change is staged once. */
  readonly resident: boolean;
}

/** Staged operands at once when all of them are resident. */
type Residents = 3 | 4;

/** How the work is laid out for so many features, or undefined where that exceeds the device. */
function layoutFor(widest: number, residents: Residents, spec: AttentionSpec): Layout | undefined {
  const vectors = Math.ceil(widest / 4);
  const columnGroups = [8, 16, 32].find((groups) => vectors <= 2 * groups);
  if (columnGroups === undefined) return undefined;
  const threads = rowGroups * columnGroups;
  if (threads > spec.maxInvocations) return undefined;
  const whole = columnGroups * Math.ceil(vectors / columnGroups);
  // Weights, and one vector per invocation to reduce rows with.
  const fixed = tileExtent * rowGroups * 16 + threads * 16;
  const bytes = (width: number, operands: number) => fixed + operands * tileExtent * (width + 1) * 16;
  const fits = (width: number, operands: number) => bytes(width, operands) <= spec.maxWorkgroupBytes;
  if (fits(whole, residents)) return { columnGroups, threads, width: whole, resident: true };
  const width = [whole, columnGroups].find((own) => fits(own, 2));
  return width === undefined ? undefined : { columnGroups, threads, width, resident: false };
}

/** Can the kernels run with so many features per head? */
export const fitsFused = (widest: number, spec: AttentionSpec): boolean => layoutFor(widest, 4, spec) !== undefined;

/** A matrix per head that is read: `[…, rows, columns]`. */
interface Operand {
  readonly name: "q" | "k" | "v" | "g" | "o";
  readonly binding: string;
  readonly input: KernelInput;
  readonly rows: number;
  readonly columns: number;
  readonly vector: boolean;
}

/** Can rows be loaded as vectors of four? */
function isAligned({ shape, strides, offset }: KernelInput): boolean {
  const outer = strides.slice(0, -1);
  return (shape.at(-1) as number) % 4 === 0 && strides.at(-1) === 1 && [offset, ...outer].every((x) => x % 4 === 0);
}

/** The position of the first element of head `z`. */
function startOf({ offset, strides }: KernelInput, leading: Shape): string {
  const terms = leading.flatMap((extent, axis) => {
    const inner = sizeOf(leading.slice(axis + 1));
    if (strides[axis] === 0 || extent === 1) return [];
    const quotient = inner === 1 ? "z" : `z / ${inner}u`;
    const coordinate = axis === 0 ? quotient : `(${quotient}) % ${extent}u`;
    return [`(${coordinate}) * ${strides[axis]}u`];
  });
  return [`${offset}u`, ...terms].join(" + ");
}

/** A function that loads four elements of a row as f32, zeros outside of the matrix. */
function loader({ name, binding, input, rows, columns, vector }: Operand): string {
  const [rowStride, stride] = input.strides.slice(-2) as [number, number];
  const vectors = Math.ceil(columns / 4);
  const body = vector
    ? `  return vec4<f32>(${binding}[(start + row * ${rowStride}u) / 4u + column]);`
    : `  let at = start + row * ${rowStride}u;
  return vec4<f32>(${[0, 1, 2, 3]
    .map((lane) => {
      const element = (column: string) => `f32(${binding}[at + ${column} * ${stride}u])`;
      if (columns % 4 === 0) return element(`(column * 4u + ${lane}u)`);
      const position = `column * 4u + ${lane}u`;
      return `select(0.0, ${element(`min(${position}, ${columns - 1}u)`)}, ${position} < ${columns}u)`;
    })
    .join(", ")});`;
  return `fn load_${name}(start: u32, row: u32, column: u32) -> vec4<f32> {
  if (row >= ${rows}u || column >= ${vectors}u) { return vec4<f32>(); }
${body}
}`;
}

const lanes = [0, 1, 2, 3] as const;
const laneNames = ["x", "y", "z", "w"] as const;
const hidden = "-3.0e38";
/** A score at or below this is that of a hidden pair. */
const hiddenBound = "-1.0e38";

/** What the kernels share; `rows` and `columns` say which of queries and keys they are. */
class Writer {
  readonly layout: Layout;
  readonly operands: readonly Operand[];
  readonly leading: Shape;
  readonly rowsAreQueries: boolean;
  readonly queries: number;
  readonly keys: number;
  readonly #spec: AttentionSpec;
  readonly #mask: { readonly input: KernelInput; readonly binding: string } | undefined;

  constructor(options: {
    readonly layout: Layout;
    readonly operands: readonly Operand[];
    readonly mask: { readonly input: KernelInput; readonly binding: string } | undefined;
    readonly rowsAreQueries: boolean;
    readonly queries: number;
    readonly keys: number;
    readonly spec: AttentionSpec;
  }) {
    this.layout = options.layout;
    this.operands = options.operands;
    this.leading = (options.operands[0] as Operand).input.shape.slice(0, -2);
    this.rowsAreQueries = options.rowsAreQueries;
    this.queries = options.queries;
    this.keys = options.keys;
    this.#spec = options.spec;
    this.#mask = options.mask;
  }

  get rows(): number {
    return this.rowsAreQueries ? this.queries : this.keys;
  }
  get columns(): number {
    return this.rowsAreQueries ? this.keys : this.queries;
  }
  get rowTiles(): number {
    return Math.ceil(this.rows / tileExtent);
  }
  get workgroups(): number {
    return sizeOf(this.leading) * this.rowTiles;
  }
  /** Columns of scores per invocation. */
  get own(): readonly number[] {
    return Array.from({ length: tileExtent / this.layout.columnGroups }, (_, column) => column);
  }
  #operand(name: Operand["name"]): Operand {
    return this.operands.find((operand) => operand.name === name) as Operand;
  }
  chunks(name: Operand["name"]): readonly number[] {
    const { columns } = this.#operand(name);
    return Array.from({ length: Math.ceil(columns / 4 / this.layout.width) }, (_, chunk) => chunk);
  }
  /** The array in which an operand is staged. */
  #place(name: Operand["name"], side: "row" | "column"): string {
    return this.layout.resident ? `tile_${name}` : `${side}_tile`;
  }

  declarations(): string {
    const { layout } = this;
    const extent = tileExtent * (layout.width + 1);
    const places = layout.resident
      ? this.operands.filter(({ name }) => name !== "o").map(({ name }) => `tile_${name}`)
      : ["row_tile", "column_tile"];
    return [
      ...places.map((place) => `var<workgroup> ${place}: array<vec4<f32>, ${extent}>;`),
      `var<workgroup> weights: array<vec4<f32>, ${tileExtent * rowGroups}>;`,
      `var<workgroup> partial: array<vec4<f32>, ${layout.threads}>;`,
      ...this.operands.map(loader),
      ...this.#visibility(),
    ].join("\n");
  }

  /** The function that adds the mask to a score, and hides it where it does not count. */
  #visibility(): string[] {
    if (!this.#needsVisibility) return [];
    const conditions = [
      ...(this.columns % tileExtent === 0 ? [] : [`${this.rowsAreQueries ? "key" : "query"} >= ${this.columns}u`]),
      ...(this.#spec.causal ? ["key > query"] : []),
    ];
    const lines = conditions.length === 0 ? [] : [`  if (${conditions.join(" || ")}) { return ${hidden}; }`];
    if (this.#mask !== undefined) {
      const { input, binding } = this.#mask;
      const [queryStride, keyStride] = input.strides.slice(-2) as [number, number];
      const clamp = (name: string, extent: number) => `min(${name}, ${extent - 1}u)`;
      lines.push(
        `  let given = ${binding}[start + ${clamp("query", this.queries)} * ${queryStride}u + ${clamp("key", this.keys)} * ${keyStride}u];`,
        input.dtype === "bool"
          ? `  return select(${hidden}, score, given != 0u);`
          : `  if (given <= ${hiddenBound}) { return ${hidden}; }\n  return score + given;`,
      );
    } else lines.push("  return score;");
    return [`fn shown(score: f32, start: u32, query: u32, key: u32) -> f32 {\n${lines.join("\n")}\n}`];
  }

  get #needsVisibility(): boolean {
    return this.columns % tileExtent !== 0 || this.#spec.causal || this.#mask !== undefined;
  }

  /**
   * The bound of a loop. Compilers of CPU adapters unroll loops of known length and take seconds for it: they are not told.
   */
  #bound = (count: number): string => (this.#spec.isSoftware ? `${count}u + runtime.zero` : `${count}u`);

  /** Where this workgroup and this invocation are. */
  prologue(): string {
    const { columnGroups } = this.layout;
    return `
  if (number >= ${this.workgroups}u) { return; }
  let z = number / ${this.rowTiles}u;
  let first_row = (number % ${this.rowTiles}u) * ${tileExtent}u;
  let row_group = local / ${columnGroups}u;
  let column_group = local % ${columnGroups}u;
${this.operands.map(({ name, input }) => `  let ${name}_start = ${startOf(input, this.leading)};`).join("\n")}
  let mask_start = ${this.#mask === undefined ? "0u" : startOf(this.#mask.input, this.leading)};`;
  }

  /** The four rows of an invocation. */
  row = (lane: number): string => `(first_row + row_group + ${rowGroups * lane}u)`;
  column = (own: number): string => `(first_column + column_group + ${this.layout.columnGroups * own}u)`;

  /** Loops over the tiles in which anything is visible. */
  overTiles(body: string): string {
    const tiles = Math.ceil(this.columns / tileExtent);
    const skip = !this.#spec.causal
      ? ""
      : this.rowsAreQueries
        ? `\n    if (first_column > first_row + ${tileExtent - 1}u) { break; }`
        : `\n    if (first_column + ${tileExtent - 1}u < first_row) { continue; }`;
    return `
  for (var tile = 0u; tile < ${this.#bound(tiles)}; tile++) {
    let first_column = tile * ${tileExtent}u;${skip}
${body}
  }`;
  }

  /** Copies a chunk of an operand to workgroup memory; q is scaled on the way. */
  stage(name: Operand["name"], side: "row" | "column", chunk: string): string {
    const { threads, width } = this.layout;
    const scale = name === "q" && this.#spec.scale !== 1 ? ` * ${float(this.#spec.scale)}` : "";
    return `
    for (var step = 0u; step < ${this.#bound((tileExtent * width) / threads)}; step++) {
      let at = step * ${threads}u + local;
      ${this.#place(name, side)}[(at / ${width}u) * ${width + 1}u + at % ${width}u] =
        load_${name}(${name}_start, first_${side} + at / ${width}u, ${chunk} + at % ${width}u)${scale};
    }`;
  }

  /** Stages whole operands at the head of a tile (or before all tiles, for those of the rows). */
  stageResident(names: readonly Operand["name"][], side: "row" | "column"): string {
    if (!this.layout.resident) return "";
    return `\n    workgroupBarrier();${names.map((name) => this.stage(name, side, "0u")).join("")}\n    workgroupBarrier();`;
  }

  /** `into_c[lane] = row operand · column operand`, for the rows and columns of this invocation. */
  product(into: string, rows: Operand["name"], columns: Operand["name"]): string {
    const { resident, width, columnGroups } = this.layout;
    const pitch = width + 1;
    const vectors = Math.ceil(this.#operand(rows).columns / 4);
    const count = Math.min(width, vectors);
    const a = lanes.map((lane) => `${this.#place(rows, "row")}[(row_group + ${rowGroups * lane}u) * ${pitch}u + x]`);
    const inner = `
    for (var x = 0u; x < ${this.#bound(count)}; x++) {
      let rows_at = mat4x4<f32>(${a.join(", ")});
      let turned = transpose(rows_at);
${this.own
  .map((own) => {
    const b = `${this.#place(columns, "column")}[(column_group + ${columnGroups * own}u) * ${pitch}u + x]`;
    const name = `${into}${own}`;
    const sum = lanes.reduce((total, lane) => `fma(vec4<f32>(b${own}[${lane}]), turned[${lane}], ${total})`, name);
    return `      let b${own} = ${b};\n      ${name} = ${sum};`;
  })
  .join("\n")}
    }`;
    const declared = this.own.map((own) => `    var ${into}${own} = vec4<f32>();`).join("\n");
    if (resident) return `${declared}${inner}`;
    const chunks = this.chunks(rows).length;
    return `${declared}
    for (var chunk = 0u; chunk < ${chunks * width}u; chunk += ${width}u) {
    workgroupBarrier();${this.stage(rows, "row", "chunk")}${this.stage(columns, "column", "chunk")}
    workgroupBarrier();${inner}
    }`;
  }

  /** Applies mask, bounds and causality to scores. */
  showOnly(name: string): string {
    if (!this.#needsVisibility) return "";
    return this.own
      .map((own) => {
        const values = lanes.map((lane) => {
          const [row, column] = [this.row(lane), this.column(own)];
          const [query, key] = this.rowsAreQueries ? [row, column] : [column, row];
          return `shown(${name}${own}.${laneNames[lane]}, mask_start, ${query}, ${key})`;
        });
        return `\n    ${name}${own} = vec4<f32>(${values.join(", ")});`;
      })
      .join("");
  }

  /** e^(score − offset), 0 where hidden. */
  weight = (score: string, offset: string): string =>
    this.#needsVisibility
      ? `select(exp(${score} - ${offset}), vec4<f32>(), ${score} <= vec4<f32>(${hiddenBound}))`
      : `exp(${score} - ${offset})`;

  storeWeights = (name: string): string =>
    this.own
      .map(
        (own) =>
          `\n    weights[(column_group + ${this.layout.columnGroups * own}u) * ${rowGroups}u + row_group] = ${name}${own};`,
      )
      .join("");

  /** Vectors of the result per row and invocation. */
  #shares(name: Operand["name"]): number[] {
    const vectors = Math.ceil(this.#operand(name).columns / 4);
    return Array.from({ length: Math.ceil(vectors / this.layout.columnGroups) }, (_, share) => share);
  }

  /** Registers for the sums that {@link accumulate} makes. */
  accumulators = (into: string, name: Operand["name"]): string =>
    this.#shares(name)
      .flatMap((share) => lanes.map((lane) => `\n  var ${into}${lane}_${share} = vec4<f32>();`))
      .join("");

  scaleAccumulators = (into: string, name: Operand["name"], factor: string): string =>
    this.#shares(name)
      .flatMap((share) => lanes.map((lane) => `\n    ${into}${lane}_${share} *= ${factor}.${laneNames[lane]};`))
      .join("");

  /** `into += weights · column operand`; begins and ends without a barrier. */
  accumulate(into: string, name: Operand["name"]): string {
    const { resident, width, columnGroups } = this.layout;
    const place = this.#place(name, "column");
    return this.chunks(name)
      .map((chunk) => {
        const shares = this.#shares(name).filter((share) => Math.floor((share * columnGroups) / width) === chunk);
        const lines = shares.map(
          (share) =>
            `      let b${share} = ${place}[y * ${width + 1}u + column_group + ${columnGroups * share - chunk * width}u];\n` +
            lanes
              .map((lane) => {
                const sum = `${into}${lane}_${share}`;
                return `      ${sum} = fma(vec4<f32>(w[${lane}]), b${share}, ${sum});`;
              })
              .join("\n"),
        );
        const staged = resident
          ? "\n    workgroupBarrier();"
          : `\n    workgroupBarrier();${this.stage(name, "column", `${chunk * width}u`)}\n    workgroupBarrier();`;
        return `${staged}
    for (var y = 0u; y < ${this.#bound(tileExtent)}; y++) {
      let w = weights[y * ${rowGroups}u + row_group];
${lines.join("\n")}
    }`;
      })
      .join("");
  }

  /** Reduces a vector of rows over the column groups. Begins without a barrier. */
  reduceRows(value: string, into: string, combine: (a: string, b: string) => string): string {
    const next = `partial[other * ${rowGroups}u + row_group]`;
    return `
    partial[column_group * ${rowGroups}u + row_group] = ${value};
    workgroupBarrier();
    var ${into} = partial[row_group];
    for (var other = 1u; other < ${this.#bound(this.layout.columnGroups)}; other++) { ${into} = ${combine(into, next)}; }`;
  }

  /** Writes the rows of a result `[…, rows, columns]` whose head begins at `start`. */
  store(into: string, name: Operand["name"], output: string, start: string, factor: (lane: number) => string): string {
    const { columns } = this.#operand(name);
    const lines = lanes.flatMap((lane) => {
      const inside = this.rows % tileExtent === 0 ? [] : [`${this.row(lane)} < ${this.rows}u`];
      const stores = this.#shares(name).flatMap((share) => {
        const vector = `column_group + ${this.layout.columnGroups * share}u`;
        return lanes.map((part) => {
          const column = `(${vector}) * 4u + ${part}u`;
          const exact = columns % (4 * this.layout.columnGroups) === 0;
          const write = `${output}[${start} + ${this.row(lane)} * ${columns}u + ${column}] = ${into}${lane}_${share}[${part}]${factor(lane)};`;
          return exact ? write : `if (${column} < ${columns}u) { ${write} }`;
        });
      });
      return inside.length === 0 ? stores : [`if (${inside[0]}) {`, ...stores, "}"];
    });
    return lines.map((line) => `\n  ${line}`).join("");
  }

  /** One invocation per row group writes values of rows. */
  storeRows(values: readonly { readonly name: string; readonly start: string }[], output: string): string {
    const lines = lanes.map((lane) => {
      const writes = values.map(
        ({ name, start }) => `${output}[${start} + ${this.row(lane)}] = ${name}.${laneNames[lane]};`,
      );
      return `    if (${this.row(lane)} < ${this.rows}u) { ${writes.join(" ")} }`;
    });
    return `\n  if (column_group == 0u) {\n${lines.join("\n")}\n  }`;
  }
}

const float = (value: number): string => (Number.isInteger(value) ? `${value}.0` : String(Math.fround(value)));

interface Inputs {
  readonly q: KernelInput;
  readonly k: KernelInput;
  readonly v: KernelInput;
  readonly mask?: KernelInput | undefined;
  /** Cotangent of the result. */
  readonly g?: KernelInput;
  /** What an earlier kernel saved. */
  readonly saved?: KernelInput;
}

const order = ["q", "k", "v", "mask", "g", "saved"] as const;

interface Extents {
  readonly heads: number;
  readonly n: number;
  readonly m: number;
  readonly d: number;
  readonly e: number;
}

function extentsOf({ q, v }: { readonly q: Aval; readonly v: Aval }): Extents {
  const [n, d] = q.shape.slice(-2) as [number, number];
  const [m, e] = v.shape.slice(-2) as [number, number];
  return { heads: sizeOf(q.shape.slice(0, -2)), n, m, d, e };
}

/** Assembles a kernel: `products` counts matrix products of the size of the scores. */
function kernel(
  name: string,
  inputs: Inputs,
  spec: AttentionSpec,
  rowsAreQueries: boolean,
  flops: number,
  body: (writer: Writer, names: { readonly saved: string; readonly output: string }) => string,
): WrittenKernel {
  const { heads, n, m, d, e } = extentsOf(inputs);
  const given = order.filter((key) => inputs[key] !== undefined);
  const tiles = (["q", "k", "v", "g"] as const).filter((key) => inputs[key] !== undefined);
  const others = given.filter((key) => key === "mask" || key === "saved");
  const isShared = tiles.some((key) => others.some((other) => inputs[key]?.binding === inputs[other]?.binding));
  const vector = !isShared && tiles.every((key) => isAligned(inputs[key] as KernelInput));
  const layout = layoutFor(Math.max(d, e), inputs.g === undefined ? 3 : 4, spec) as Layout;
  const writerFor = (names: readonly string[]): Writer => {
    const nameOf = (key: (typeof order)[number]) => names[given.indexOf(key)] as string;
    const operand = (key: "q" | "k" | "v" | "g"): Operand => {
      const input = inputs[key] as KernelInput;
      const [rows, columns] = input.shape.slice(-2) as [number, number];
      return { name: key, binding: nameOf(key), input, rows, columns, vector };
    };
    const result: Operand[] =
      inputs.saved !== undefined && rowsAreQueries
        ? [
            {
              name: "o",
              binding: nameOf("saved"),
              input: savedOutput(inputs.saved, n, e),
              rows: n,
              columns: e,
              vector: false,
            },
          ]
        : [];
    return new Writer({
      layout,
      operands: [...tiles.map(operand), ...result],
      mask: inputs.mask && { input: inputs.mask, binding: nameOf("mask") },
      rowsAreQueries,
      queries: n,
      keys: m,
      spec,
    });
  };
  const writer = writerFor(given.map((_, index) => `in${index}`));
  return {
    label: `attention_${name}_${n}x${m}x${d}`,
    declarations: ({ inputs: names }) => writerFor(names).declarations(),
    body: ({ inputs: names, output }) =>
      body(writerFor(names), { saved: names[given.indexOf("saved")] as string, output }),
    workgroupSize: layout.threads,
    workgroups: writer.workgroups,
    vectors: { inputs: given.map((key) => vector && key !== "mask" && key !== "saved") },
    flops: (flops * heads * n * m) / (spec.causal ? 2 : 1),
  };
}

/** The result of the forward kernel where that saved it. */
const savedOutput = ({ shape, dtype, offset, strides, binding }: KernelInput, n: number, e: number): KernelInput => ({
  shape: [...shape.slice(0, -1), n, e],
  dtype,
  offset,
  strides: [...strides.slice(0, -1), e, 1],
  binding,
});

/**
 * `q, k, v` and perhaps a mask to `[…, n·(e + 2)]`: the result `[n, e]` of every head, then of every row the largest score
 * and the inverse of the sum of e^(score − largest), 0 where nothing is visible. (One logsumexp would do, but where scores are
 * large it rounds away the sum.)
 */
export function forwardKernel(inputs: Inputs, spec: AttentionSpec): WrittenKernel {
  const { n, d, e } = extentsOf(inputs);
  return kernel("forward", inputs, spec, true, 2 * (d + e), (w, { output }) => {
    const tile = `${w.stageResident(["k", "v"], "column")}
${w.product("s", "q", "k")}${w.showOnly("s")}${w.reduceRows(
  w.own.map((own) => `s${own}`).reduce((a, b) => `max(${a}, ${b})`),
  "top",
  (a, b) => `max(${a}, ${b})`,
)}
    top = max(top, largest);
    let keep = exp(max(largest - top, vec4<f32>(-1000.0)));
    largest = top;
${w.own.map((own) => `    s${own} = ${w.weight(`s${own}`, "top")};`).join("\n")}
    total = total * keep + (${w.own.map((own) => `s${own}`).join(" + ")});${w.scaleAccumulators("o", "v", "keep")}${w.storeWeights("s")}${w.accumulate("o", "v")}`;
    return `${w.prologue()}
  var largest = vec4<f32>(${hiddenBound});
  var total = vec4<f32>();${w.accumulators("o", "v")}${w.stageResident(["q"], "row")}${w.overTiles(tile)}${w.reduceRows("total", "sum", (a, b) => `${a} + ${b}`)}
  let nothing = sum == vec4<f32>();
  let inverse = select(1.0 / sum, vec4<f32>(), nothing);
  let start = z * ${n * (e + 2)}u;${w.store("o", "v", output, "start", (lane) => ` * inverse.${laneNames[lane]}`)}${w.storeRows(
    [
      { name: "largest", start: `start + ${n * e}u` },
      { name: "inverse", start: `start + ${n * (e + 1)}u` },
    ],
    output,
  )}`;
  });
}

/**
 * The inputs of the forward kernel, the cotangent `g` and what the forward kernel saved, to `[…, n·(d + 3)]`: the gradient
 * `[n, d]` by q, what was saved of every row, and D.
 */
export function queryGradientKernel(
  inputs: Required<Omit<Inputs, "mask">> & Inputs,
  spec: AttentionSpec,
): WrittenKernel {
  const { n, d, e } = extentsOf(inputs);
  return kernel("query_gradient", inputs, spec, true, 4 * d + 2 * e, (w, { saved, output }) => {
    const savedStart = startOf(inputs.saved, w.leading);
    const statistic = (part: number) => (lane: number) =>
      `${saved}[saved_start + ${n * (e + part)}u + min(${w.row(lane)}, ${n - 1}u)]`;
    const tile = `${w.stageResident(["k", "v"], "column")}
${w.product("s", "q", "k")}${w.showOnly("s")}
${w.product("t", "g", "v")}
${w.own.map((own) => `    s${own} = ${w.weight(`s${own}`, "largest")} * inverse * (t${own} - inner);`).join("\n")}${w.storeWeights("s")}${w.accumulate("o", "k")}`;
    const shares = Array.from({ length: Math.ceil(e / 4 / w.layout.columnGroups) }, (_, share) => share);
    const inner = shares
      .map((share) => {
        const column = `column_group + ${share * w.layout.columnGroups}u`;
        const dots = lanes.map(
          (lane) => `dot(load_g(g_start, ${w.row(lane)}, ${column}), load_o(o_start, ${w.row(lane)}, ${column}))`,
        );
        return `\n  parts += vec4<f32>(${dots.join(",\n    ")});`;
      })
      .join("");
    return `${w.prologue()}
  let saved_start = ${savedStart};
  let largest = vec4<f32>(${lanes.map(statistic(0)).join(", ")});
  let inverse = vec4<f32>(${lanes.map(statistic(1)).join(", ")});
  var parts = vec4<f32>();${inner}${w.reduceRows("parts", "inner", (a, b) => `${a} + ${b}`)}${w.accumulators("o", "q")}${w.stageResident(["q", "g"], "row")}${w.overTiles(tile)}
  let start = z * ${n * (d + 3)}u;${w.store("o", "q", output, "start", () => (spec.scale === 1 ? "" : ` * ${float(spec.scale)}`))}${w.storeRows(
    [
      { name: "largest", start: `start + ${n * d}u` },
      { name: "inverse", start: `start + ${n * (d + 1)}u` },
      { name: "inner", start: `start + ${n * (d + 2)}u` },
    ],
    output,
  )}`;
  });
}

/**
 * The inputs of the forward kernel, the cotangent `g` and what the query kernel saved, to `[…, m·(d + e)]`: the gradients
 * `[m, d]` by k and `[m, e]` by v.
 */
export function keyGradientsKernel(
  inputs: Required<Omit<Inputs, "mask">> & Inputs,
  spec: AttentionSpec,
): WrittenKernel {
  const { n, m, d, e } = extentsOf(inputs);
  return kernel("key_gradients", inputs, spec, false, 4 * d + 4 * e, (w, { saved, output }) => {
    const savedStart = startOf(inputs.saved, w.leading);
    const statistic = (own: number, part: number) =>
      `${saved}[saved_start + ${n * (d + part)}u + min(${w.column(own)}, ${n - 1}u)]`;
    const tile = `${w.stageResident(["q", "g"], "column")}
${w.product("s", "k", "q")}${w.showOnly("s")}
${w.own.map((own) => `    s${own} = ${w.weight(`s${own}`, statistic(own, 0))} * ${statistic(own, 1)};`).join("\n")}
${w.product("t", "v", "g")}
${w.own.map((own) => `    t${own} = s${own} * (t${own} - ${statistic(own, 2)});`).join("\n")}${w.storeWeights("s")}${w.accumulate("dv", "g")}
    workgroupBarrier();${w.storeWeights("t")}${w.accumulate("dk", "q")}`;
    return `${w.prologue()}
  let saved_start = ${savedStart};${w.accumulators("dk", "q")}${w.accumulators("dv", "g")}${w.stageResident(["k", "v"], "row")}${w.overTiles(tile)}
  let start = z * ${m * (d + e)}u;${w.store("dk", "q", output, "start", () => "")}${w.store("dv", "g", output, `start + ${m * d}u`, () => "")}`;
  });
}
