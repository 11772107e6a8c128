import { describe, expect, it } from "vitest";
import { tensor, zeros } from "./create";
import { init } from "./device/device";
import { decodeSafetensors, encodeSafetensors, fromSafetensors, toSafetensors } from "./safetensors";

const bytesOf = (array: Float32Array | Float64Array | Uint32Array) => new Uint8Array(array.buffer);

const content = {
  tensors: {
    "dense.bias": { dtype: "BOOL", shape: [3], bytes: new Uint8Array([1, 0, 1]) },
    "dense.kernel": { dtype: "F32", shape: [2, 3], bytes: bytesOf(new Float32Array([1, -2, 3, 0.5, Number.NaN, -0])) },
    empty: { dtype: "F32", shape: [0, 5], bytes: new Uint8Array(0) },
    key: { dtype: "U32", shape: [2], bytes: bytesOf(new Uint32Array([42, 0xffffffff])) },
    scalar: { dtype: "F64", shape: [], bytes: bytesOf(new Float64Array([Math.PI])) },
  },
  metadata: { step: "50", note: "ümlaut" },
} as const;

/** A file made by hand: the header as given, then `dataBytes` zeros. */
function file(header: unknown, dataBytes = 0): Uint8Array {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.byteLength + dataBytes);
  bytes[0] = text.byteLength;
  bytes.set(text, 8);
  return bytes;
}

describe("safetensors", () => {
  it("content comes back bit for bit", () => {
    const decoded = decodeSafetensors(encodeSafetensors(content));
    expect(decoded.metadata).toEqual(content.metadata);
    for (const [name, entry] of Object.entries(content.tensors)) {
      expect({ ...decoded.tensors[name], bytes: [...(decoded.tensors[name]?.bytes ?? [])] }).toEqual({
        ...entry,
        bytes: [...entry.bytes],
      });
    }
  });

  it("writes the published layout: length, header padded to eight bytes, data by falling element size", () => {
    const encoded = encodeSafetensors(content);
    const headerBytes = Number(new DataView(encoded.buffer).getBigUint64(0, true));
    const text = new TextDecoder().decode(encoded.subarray(8, 8 + headerBytes));
    expect(headerBytes % 8).toBe(0);
    expect(text.trimEnd()).toMatchInlineSnapshot(
      `"{"__metadata__":{"step":"50","note":"ümlaut"},"scalar":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"dense.kernel":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},"empty":{"dtype":"F32","shape":[0,5],"data_offsets":[32,32]},"key":{"dtype":"U32","shape":[2],"data_offsets":[32,40]},"dense.bias":{"dtype":"BOOL","shape":[3],"data_offsets":[40,43]}}"`,
    );
    expect(encoded.byteLength).toBe(8 + headerBytes + 43);
  });

  it("reads a file that another program laid out in another order and without padding", () => {
    const header = {
      b: { dtype: "U8", shape: [2], data_offsets: [0, 2] },
      a: { dtype: "F32", shape: [1], data_offsets: [2, 6] },
    };
    expect(decodeSafetensors(file(header, 6)).tensors.a?.bytes.byteLength).toBe(4);
  });

  it("a file cut at any byte is refused", () => {
    const encoded = encodeSafetensors(content);
    for (let length = 0; length < encoded.byteLength; length++) {
      expect(() => decodeSafetensors(encoded.subarray(0, length), "cut.safetensors")).toThrow("cut.safetensors: ");
    }
  });

  const entry = (changes: object) => ({ a: { dtype: "F32", shape: [1], data_offsets: [0, 4], ...changes } });
  it.each([
    [file("[]"), 'does not start with "{"'],
    [file("{,}"), "the header is not JSON"],
    [file({ a: 1 }), 'the entry of tensor "a" is no object'],
    [file(entry({ dtype: "F31" }), 4), 'tensor "a" has the unknown type "F31"'],
    [file(entry({ dtype: "toString" }), 4), 'tensor "a" has the unknown type "toString"'],
    [file(entry({ shape: [-1] }), 4), 'tensor "a" has the shape [-1]'],
    [file(entry({ data_offsets: [4, 0] }), 4), 'tensor "a" has the offsets [4,0]'],
    [file(entry({ shape: [2] }), 4), 'tensor "a" has 4 bytes, F32 [2] needs 8'],
    [file(entry({ data_offsets: [4, 8] }), 8), 'tensor "a" begins at 4, the one before it ends at 0'],
    [file({ ...entry({}), b: entry({}).a }, 4), 'tensor "b" begins at 0, the one before it ends at 4'],
    [file(entry({}), 5), "1 bytes at the end belong to no tensor"],
    [file({ __metadata__: { a: 1 } }), "__metadata__ does not map text to text"],
    [new Uint8Array([255, 255, 255, 255, 255, 255, 0, 0]), "at most 100000000 are allowed"],
  ])("a damaged file is refused with the reason (%#)", (bytes, message) => {
    expect(() => decodeSafetensors(bytes)).toThrow(message);
  });

  it("bytes that do not fit the shape are not written", () => {
    const tensors = { w: { dtype: "F32", shape: [3], bytes: new Uint8Array(8) } } as const;
    expect(() => encodeSafetensors({ tensors, metadata: {} })).toThrow('tensor "w" has 8 bytes, F32 [3] needs 12');
  });
});

describe("trees of tensors", () => {
  const tree = () => ({
    params: [tensor([[1.5, -0, Number.NaN]]), { bias: tensor(Float32Array.of(0.1), { dtype: "f16" }) }],
    nothing: null,
    step: tensor(Uint32Array.of(0xffffffff), { shape: [] }),
    due: tensor([true, false]),
    shift: tensor(Int32Array.of(-3)),
    empty: zeros([0, 4]),
  });

  it("come back with structure, types and bits", async () => {
    await init();
    const bytes = await toSafetensors(tree(), { note: "kept" });
    expect(decodeSafetensors(bytes).metadata).toEqual({ note: "kept" });
    const back = fromSafetensors(bytes, tree());
    expect(back.nothing).toBe(null);
    expect((back.params[1] as { bias: { dtype: string } }).bias.dtype).toBe("f16");
    expect(await toSafetensors(back, { note: "kept" })).toEqual(bytes);
  });

  it("a part of a file can be read, also from its decoded content", async () => {
    const bytes = await toSafetensors(tree());
    const { shift } = fromSafetensors(decodeSafetensors(bytes), { shift: zeros([1], { dtype: "i32" }) });
    expect(Array.from(await shift.data())).toEqual([-3]);
  });

  it("what does not fit is named with path, shape and type", async () => {
    const bytes = await toSafetensors({ a: { kernel: tensor([[1, 2]]) } });
    const read = (like: unknown) => () => fromSafetensors(bytes, like, "m.safetensors");
    expect(read({ a: { kernels: zeros([2]) } })).toThrow(
      'm.safetensors: tensor a.kernels (F32 [2]) is missing. Did you mean "a.kernel"?',
    );
    expect(read({ a: { kernel: zeros([2]) } })).toThrow("tensor a.kernel is F32 [1, 2], expected F32 [2]");
    expect(read({ a: { kernel: zeros([1, 2], { dtype: "u32" }) } })).toThrow("is F32 [1, 2], expected U32 [1, 2]");
    await expect(toSafetensors({ a: [1] })).rejects.toThrow("toSafetensors: a.0 is number, not a tensor.");
  });
});
