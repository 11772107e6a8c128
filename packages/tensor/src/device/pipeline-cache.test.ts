import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ArgumentError, ThalwegError, UnsupportedError } from "../errors";
import { type Device, type PipelineSpec, requestDevice } from "./device";

let device: Device;
beforeAll(async () => {
  device = await requestDevice({ notice: () => undefined });
});
afterEach(() => expect(device.takeErrors()).toEqual([]));
afterAll(() => device.destroy());

/** Stores a constant, which makes every constant a text of its own. */
function store(constant: number, changes: Partial<PipelineSpec> = {}): PipelineSpec {
  const code = [
    "@group(0) @binding(0) var<storage, read_write> out: array<u32>;",
    "@compute @workgroup_size(1) fn main() {",
    `  out[0] = ${constant}u;`,
    "}",
    "@compute @workgroup_size(1) fn other() {",
    `  out[0] = ${constant}u + 1u;`,
    "}",
  ].join("\n");
  return { label: `store_${constant}`, code, workgroupSize: [1], bindings: ["read_write"], ...changes };
}

async function run(spec: PipelineSpec, pipeline: GPUComputePipeline): Promise<number> {
  const out = device.pool.allocate(4, "out");
  const group = device.bindGroup(spec, [{ buffer: out.buffer, offset: 0, size: 4 }], "out");
  const encoder = device.gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  if (spec.uniforms === true) pass.setBindGroup(1, device.runtimeBindGroup);
  pass.dispatchWorkgroups(1);
  pass.end();
  device.submit([encoder.finish()]);
  const [value = Number.NaN] = new Uint32Array(await device.read(out.buffer, 0, 4));
  out.release();
  return value;
}

describe("the cache", () => {
  test("one text is one pipeline, whatever its label", () => {
    const before = device.counters.snapshot();
    const first = device.pipeline(store(1));
    expect(device.pipeline(store(1, { label: "another name" }))).toBe(first);
    expect(device.counters.since(before).pipelinesCreated).toBe(1);
  });

  test.each([
    ["text", store(3)],
    ["entry point", store(2, { entry: "other" })],
    ["uniforms", store(2, { uniforms: true })],
    ["bindings", store(2, { bindings: ["read_write", "read"] })],
  ])("another %s is another pipeline", async (_, spec) => {
    const before = device.counters.snapshot();
    expect(device.pipeline(spec)).not.toBe(device.pipeline(store(2)));
    expect(device.counters.since(before).pipelinesCreated).toBeGreaterThanOrEqual(1);
    await device.idle();
  });

  test("the pipelines of two entry points do what their functions say", async () => {
    const main = store(10);
    const other = store(10, { entry: "other" });
    expect(await run(main, device.pipeline(main))).toBe(10);
    expect(await run(other, device.pipeline(other))).toBe(11);
  });

  test("concurrent asynchronous requests share one compilation, also with a synchronous one", async () => {
    const before = device.counters.snapshot();
    const [first, second] = await Promise.all([device.pipelineAsync(store(20)), device.pipelineAsync(store(20))]);
    expect(second).toBe(first);
    expect(device.pipeline(store(20))).toBe(first);
    expect(device.counters.since(before).pipelinesCreated).toBe(1);

    const pending = device.pipelineAsync(store(21));
    const sooner = device.pipeline(store(21));
    expect(await pending).toBe(sooner);
    expect(await run(store(21), sooner)).toBe(21);
  });

  test("a kernel can read the runtime's zero", async () => {
    const spec: PipelineSpec = {
      label: "runtime_zero",
      code: `
        struct Runtime { zero: u32 }
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @group(1) @binding(0) var<uniform> runtime: Runtime;
        @compute @workgroup_size(1) fn main() { out[0] = 5u + runtime.zero; }`,
      workgroupSize: [1],
      bindings: ["read_write"],
      uniforms: true,
    };
    expect(await run(spec, await device.pipelineAsync(spec))).toBe(5);
  });
});

describe("errors", () => {
  const misspelt = store(30, {
    label: "misspelt",
    code: "@compute @workgroup_size(1) fn main() {\n  let x = 1u;\n  let y = x + undefined_name;\n}",
    bindings: [],
  });

  test("a text that does not compile is shown with the offending line", async () => {
    const compiling = device.pipelineAsync(misspelt);
    await expect(compiling).rejects.toThrow(ThalwegError);
    await expect(compiling).rejects.toMatchObject({ code: "shader" });
    await expect(compiling).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ThalwegError: pipeline misspelt: the WGSL text does not compile.
      3:15: unresolved value 'undefined_name'
      3 |   let y = x + undefined_name;
                        ^]
    `);
  });

  test("a text that does not compile is not cached", async () => {
    await expect(device.pipelineAsync(misspelt)).rejects.toThrow(/undefined_name/);
    await expect(device.pipelineAsync(misspelt)).rejects.toThrow(/undefined_name/);
  });

  test("a synchronous pipeline that does not compile fails the next read, naming the text and not the consequences", async () => {
    const spec = store(31, { code: store(31).code.replace("31u;", "31u + ;"), label: "broken" });
    await expect(run(spec, device.pipeline(spec))).rejects.toThrow(/pipeline broken: the WGSL text does not compile/);
    const again = device.pipeline(spec);
    await expect(device.idle()).rejects.toMatchObject({ code: "shader" });
    expect(device.pipeline(spec)).not.toBe(again);
    await expect(device.idle()).rejects.toMatchObject({ code: "shader" });
  });

  test("a text that does not fit its bindings says so", async () => {
    const spec = store(32, { bindings: ["read"], label: "wrong_access" });
    const compiling = device.pipelineAsync(spec);
    await expect(compiling).rejects.toMatchObject({ code: "shader" });
    await expect(compiling).rejects.toThrow(/pipeline wrong_access: the pipeline cannot be made/);
  });

  test("an entry point that is not there says so", async () => {
    await expect(device.pipelineAsync(store(33, { entry: "nowhere" }))).rejects.toThrow(/nowhere/);
  });

  test.each([
    ["storage buffers", { bindings: Array.from({ length: 99 }, () => "read" as const) }],
    ["invocations in a workgroup", { workgroupSize: [64, 64] }],
    ["invocations along z", { workgroupSize: [1, 1, 2048] }],
  ])("more %s than the limit is refused before anything is compiled", async (what, changes) => {
    const before = device.counters.snapshot();
    const message = new RegExp(`pipeline store_34: \\d+ ${what}, but this device allows`);
    expect(() => device.pipeline(store(34, changes))).toThrow(
      what === "invocations along z" ? UnsupportedError : message,
    );
    await expect(device.pipelineAsync(store(34, changes))).rejects.toThrow(UnsupportedError);
    expect(device.counters.since(before).pipelinesCreated).toBe(0);
  });

  test.each([[[0]], [[1.5]], [[1, 1, 1, 1]]])("%j is not a workgroup size", (workgroupSize) => {
    expect(() => device.pipeline(store(35, { workgroupSize }))).toThrow(ArgumentError);
  });
});
