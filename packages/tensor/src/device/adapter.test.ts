import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ArgumentError, UnsupportedError } from "../errors";
import { adapterName, describeAdapter, isSoftware } from "./adapter";
import * as browser from "./adapter.browser";
import * as node from "./adapter.node.js";
import { tarEntries, unpackSwiftShader } from "./swiftshader.node.js";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
});

const auto = { adapter: "auto", powerPreference: undefined };

function info(fields: Partial<GPUAdapterInfo> & { backend?: string }): GPUAdapterInfo {
  return {
    vendor: "",
    architecture: "",
    device: "",
    description: "",
    isFallbackAdapter: false,
    ...fields,
  } as GPUAdapterInfo;
}

describe("describing an adapter", () => {
  test.each([
    [{ vendor: "nvidia", architecture: "ada", description: "NVIDIA GeForce RTX 4090" }, false],
    [{ vendor: "mesa", architecture: "software", description: "llvmpipe: Mesa 25.0.7" }, true],
    [{ vendor: "google", architecture: "swiftshader" }, true],
    [{ vendor: "microsoft", description: "Microsoft Basic Render Driver" }, true],
    [{ vendor: "unknown", isFallbackAdapter: true }, true],
  ])("%j computes on the CPU: %s", (fields, expected) => {
    expect(isSoftware(info(fields))).toBe(expected);
    expect(describeAdapter(info(fields)).isSoftware).toBe(expected);
  });

  test("what the runtime does not tell is empty or 0", () => {
    expect(describeAdapter(info({}))).toEqual({
      vendor: "",
      architecture: "",
      device: "",
      description: "",
      backend: "",
      isSoftware: false,
      subgroupMinSize: 0,
      subgroupMaxSize: 0,
    });
    expect(describeAdapter(info({ backend: "vulkan" })).backend).toBe("vulkan");
  });

  test.each([
    [{ description: "llvmpipe: Mesa ", vendor: "mesa" }, "llvmpipe: Mesa"],
    [{ vendor: "apple", architecture: "metal-3" }, "apple metal-3"],
    [{}, "an adapter without a name"],
  ])("%j is called %s", (fields, name) => {
    expect(adapterName(info(fields))).toBe(name);
  });
});

describe("in Node", () => {
  const canRunSwiftShader = process.platform === "linux" && process.arch === "x64";

  // The npm package carries SwiftShader for this platform only.
  test.runIf(canRunSwiftShader)("software gives SwiftShader and leaves the environment as it was", async () => {
    vi.stubEnv("VK_DRIVER_FILES", "/nowhere/icd.json");
    const { adapter, software } = await node.findGpu({ ...auto, adapter: "software" });
    expect(adapter.info.architecture).toBe("swiftshader");
    expect(software).toBe(true);
    expect(process.env.VK_DRIVER_FILES).toBe("/nowhere/icd.json");
  });

  test.runIf(canRunSwiftShader)("a machine without a driver falls back to SwiftShader", async () => {
    vi.stubEnv("THALWEG_ADAPTER", "");
    vi.stubEnv("VK_DRIVER_FILES", "/nowhere/icd.json");
    const { adapter } = await node.findGpu(auto);
    expect(adapter.info.architecture).toBe("swiftshader");
  });

  test.runIf(canRunSwiftShader)("THALWEG_ADAPTER stands in for auto and for nothing else", async () => {
    vi.stubEnv("THALWEG_ADAPTER", "software");
    expect((await node.findGpu(auto)).adapter.info.architecture).toBe("swiftshader");
    vi.stubEnv("THALWEG_ADAPTER", "no such adapter");
    await expect(node.findGpu(auto)).rejects.toThrow(/"no such adapter"/);
    expect((await node.findGpu({ ...auto, adapter: "software" })).adapter.info.architecture).toBe("swiftshader");
  });

  test("an adapter that is not there is an error with the way out", async () => {
    const finding = node.findGpu({ ...auto, adapter: "Voodoo 2" });
    await expect(finding).rejects.toThrow(UnsupportedError);
    await expect(finding).rejects.toThrow(
      /^requestDevice: no "Voodoo 2" WebGPU adapter\. Tried: the machine's drivers through webgpu, which (are|found|failed).* Use "auto", "software", or a part of a name that is there\.$/,
    );
  });

  test("without the npm package webgpu, the error says how to get it", async () => {
    vi.doMock("webgpu", () => {
      throw new RangeError("not installed");
    });
    await expect(node.findGpu(auto)).rejects.toThrow(
      /the npm package webgpu, which did not load.*Run "npm install webgpu"/,
    );
    vi.doUnmock("webgpu");
  });

  test("an empty name is refused", async () => {
    await expect(node.findGpu({ ...auto, adapter: "" })).rejects.toThrow(ArgumentError);
  });
});

describe("unpacking SwiftShader", () => {
  test("processes that race end with one complete folder", async () => {
    const cache = await mkdtemp(join(tmpdir(), "thalweg-"));
    vi.stubEnv("THALWEG_CACHE", cache);
    const unpacked = await Promise.all([unpackSwiftShader(), unpackSwiftShader(), unpackSwiftShader()]);
    expect(new Set(unpacked.map(({ manifest }) => manifest)).size).toBe(1);
    const [folder, ...others] = await readdir(cache);
    expect(others).toEqual([]);
    expect(folder).toMatch(/^swiftshader-\d+\.\d+\.\d+$/);
    expect((await readdir(join(cache, folder ?? ""))).sort()).toEqual([
      "libvk_swiftshader.so",
      "libvulkan.so.1",
      "vk_swiftshader_icd.json",
    ]);
    const manifest = JSON.parse(await readFile(unpacked[0].manifest, "utf8")) as { ICD: { library_path: string } };
    expect(manifest.ICD.library_path).toBe("./libvk_swiftshader.so");
    await rm(cache, { recursive: true });
  });

  test("tarEntries reads names and bytes, skips folders and stops at the end mark", () => {
    const archive = new Uint8Array(512 * 7);
    const header = (block: number, name: string, size: number, type: string) => {
      archive.set(new TextEncoder().encode(name), block * 512);
      archive.set(new TextEncoder().encode(`${size.toString(8).padStart(11, "0")}\0`), block * 512 + 124);
      archive.set(new TextEncoder().encode(type), block * 512 + 156);
    };
    header(0, "lib/", 0, "5");
    header(1, "./a.so", 513, "0");
    archive.fill(7, 1024, 1024 + 513);
    header(4, "empty", 0, "0");
    const entries = [...tarEntries(archive)].map(({ name, bytes }) => [
      name,
      bytes.length,
      bytes.every((b) => b === 7),
    ]);
    expect(entries).toEqual([
      ["a.so", 513, true],
      ["empty", 0, true],
    ]);
  });
});

describe("in a browser", () => {
  const offer = (adapter: GPUAdapter | null) => {
    const requestAdapter = vi.fn(async () => adapter);
    vi.stubGlobal("navigator", { gpu: { requestAdapter } });
    return requestAdapter;
  };
  const geforce = { info: info({ vendor: "nvidia", architecture: "ada" }) } as GPUAdapter;

  test("the adapter of navigator.gpu is taken", async () => {
    const requestAdapter = offer(geforce);
    const found = await browser.findGpu({ adapter: "auto", powerPreference: "low-power" });
    expect(found).toMatchObject({ adapter: geforce, software: false });
    expect(requestAdapter).toHaveBeenCalledWith({ forceFallbackAdapter: false, powerPreference: "low-power" });
  });

  test("software asks for the fallback adapter", async () => {
    const requestAdapter = offer({ info: info({ isFallbackAdapter: true }) } as GPUAdapter);
    expect((await browser.findGpu({ ...auto, adapter: "software" })).software).toBe(true);
    expect(requestAdapter).toHaveBeenCalledWith({ forceFallbackAdapter: true });
  });

  test("a name has to be part of the adapter's", async () => {
    offer(geforce);
    expect((await browser.findGpu({ ...auto, adapter: "NVIDIA" })).adapter).toBe(geforce);
    await expect(browser.findGpu({ ...auto, adapter: "amd" })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[UnsupportedError: requestDevice: no adapter is named "amd"; the browser offers nvidia ada. Use "auto", or a part of that name.]`,
    );
  });

  test.each([
    ["no WebGPU", () => vi.stubGlobal("navigator", {}), /navigator.gpu is missing. Use a browser/],
    [
      "an insecure page",
      () => {
        vi.stubGlobal("navigator", {});
        vi.stubGlobal("isSecureContext", false);
      },
      /not a secure context/,
    ],
    ["no adapter", () => offer(null), /navigator.gpu has no adapter/],
  ])("%s is an error that says what to do", async (_, arrange, message) => {
    arrange();
    const finding = browser.findGpu(auto);
    await expect(finding).rejects.toThrow(UnsupportedError);
    await expect(finding).rejects.toThrow(message);
  });

  test("an empty name is refused", async () => {
    await expect(browser.findGpu({ ...auto, adapter: "" })).rejects.toThrow(ArgumentError);
  });
});
