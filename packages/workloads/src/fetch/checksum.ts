import { DataError } from "../errors";
import { gunzip, isGzip } from "../formats/gzip";
import type { DataFile } from "./sources";

/** SHA-256 of the bytes in lower-case hexadecimal digits. Works in browsers (secure pages only) and in Node. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  // The digest takes no view on shared memory, which the type of a view cannot exclude: the copy does.
  const view = bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", view));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Checks the bytes of a stored data file and unpacks them. A file is good if it is the publisher's to the bit, or if its
 * unpacked content is: packed anew by other software, or kept unpacked.
 *
 * @param where What messages call the file: its path or address.
 * @param fix The way out for messages.
 * @returns The unpacked content.
 * @throws DataError if the file is cut off, damaged, or another one.
 */
export async function unpackVerified(
  bytes: Uint8Array,
  file: DataFile,
  { where, fix }: { readonly where: string; readonly fix?: string | undefined },
): Promise<Uint8Array> {
  const packedSum = isGzip(bytes) ? await sha256(bytes) : undefined;
  const content = packedSum === undefined ? bytes : await gunzip(bytes, { file: where, fix });
  if (packedSum === file.sha256) return content;

  if (content.length !== file.content.bytes) {
    throw new DataError({
      file: where,
      problem: content.length < file.content.bytes ? "the file is cut off" : "the file is too long",
      expected: `${file.content.bytes} bytes unpacked`,
      found: `${content.length}`,
      fix,
    });
  }
  const found = await sha256(content);
  if (found !== file.content.sha256) {
    throw new DataError({ file: where, problem: "wrong SHA-256", expected: file.content.sha256, found, fix });
  }
  return content;
}
