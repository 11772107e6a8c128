import { DataError, type FileContext, formatBytes } from "../errors";

/** How a text file is read. */
export interface TextOptions extends FileContext {
  /** Line ends of the result: `lf` (default) or `crlf` rewrite them, `keep` leaves them as they are. */
  readonly lineEnds?: "lf" | "crlf" | "keep" | undefined;
}

/**
 * Decodes a UTF-8 text file, without a byte order mark.
 *
 * @throws DataError if the bytes are not UTF-8, with the position of the first wrong one.
 */
export function parseText(bytes: Uint8Array, { file, fix, lineEnds = "lf" }: TextOptions): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const position = firstInvalidByte(bytes);
    const found = `bytes ${formatBytes(bytes.subarray(position, position + 4))} at byte ${position}`;
    throw new DataError({ file, problem: "not a UTF-8 text", expected: "valid UTF-8", found, fix, cause });
  }
  if (lineEnds === "keep") return text;
  const unix = text.replace(/\r\n?/g, "\n");
  return lineEnds === "crlf" ? unix.replace(/\n/g, "\r\n") : unix;
}

/** Position of the first byte that no valid UTF-8 sequence holds, found by bisection over prefixes. */
function firstInvalidByte(bytes: Uint8Array): number {
  const isValidPrefix = (length: number): boolean => {
    try {
      // With `stream` an incomplete last sequence is no error.
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  let [valid, invalid] = [0, bytes.length];
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (isValidPrefix(middle)) valid = middle;
    else invalid = middle;
  }
  return valid;
}
