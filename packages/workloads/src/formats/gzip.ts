import { DataError, type FileContext, formatBytes } from "../errors";

/** True if the bytes start as a gzip member does (RFC 1952: 1f 8b). */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/**
 * Unpacks a gzip file. Works in browsers and in Node alike, with the platform's own `DecompressionStream`, which checks
 * the CRC-32 and the length that the file ends with.
 *
 * @throws DataError if the bytes are no gzip file, are cut off, damaged, or followed by anything else.
 */
export async function gunzip(bytes: Uint8Array, { file, fix }: FileContext): Promise<Uint8Array> {
  if (!isGzip(bytes)) {
    const found = bytes.length === 0 ? "an empty file" : `bytes ${formatBytes(bytes.subarray(0, 2))}`;
    throw new DataError({ file, problem: "not a gzip file", expected: "bytes 1f 8b", found, fix });
  }
  // A gzip member has ten bytes of header and eight bytes of checks.
  if (bytes.length < 18) {
    const found = `${bytes.length} bytes`;
    throw new DataError({ file, problem: "gzip file is cut off", expected: "at least 18 bytes", found, fix });
  }
  try {
    // The copy of the view is needed where the bytes lie in a larger or shared buffer, which Blob does not accept.
    const packed = new Blob([new Uint8Array(bytes)]).stream();
    const unpacked = packed.pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(unpacked).arrayBuffer());
  } catch (cause) {
    const reason = cause instanceof Error && cause.message !== "" ? `: ${cause.message}` : "";
    throw new DataError({
      file,
      problem: `gzip data are cut off or damaged${reason}`,
      expected: "a complete gzip file",
      found: `${bytes.length} bytes`,
      fix,
      cause,
    });
  }
}
