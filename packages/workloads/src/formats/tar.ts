import { DataError, type FileContext } from "../errors";

/** A regular file in a tar archive. */
export interface TarEntry {
  /** Path inside the archive, with forward slashes. */
  readonly name: string;
  /** The content: a view into the archive's bytes, not a copy. */
  readonly data: Uint8Array;
}

const blockLength = 512;

/**
 * Lists the regular files of an unpacked tar archive, in order: the ustar format with its name prefix, and the long
 * names of GNU tar and of pax headers. Folders, links and devices are passed over.
 *
 * @throws DataError if a header's checksum or size field is wrong, or the archive ends before its content does.
 * @see POSIX.1-2017, pax, "ustar Interchange Format".
 */
export function parseTar(bytes: Uint8Array, { file, fix }: FileContext): readonly TarEntry[] {
  const fail = (problem: string, expected: string, found: string) =>
    new DataError({ file, problem, expected, found, fix });
  const entries: TarEntry[] = [];
  let longName: string | undefined;
  let position = 0;
  for (;;) {
    if (position + blockLength > bytes.length) {
      throw fail("tar archive is cut off", "a closing block of zeros", `the end at byte ${bytes.length}`);
    }
    const header = bytes.subarray(position, position + blockLength);
    if (header.every((byte) => byte === 0)) return entries;
    const stored = readOctal(header, 148, 8);
    const computed = headerChecksum(header);
    if (stored !== computed) {
      throw fail(`wrong tar header checksum at byte ${position}`, `${computed}`, `${stored ?? "no octal number"}`);
    }
    const size = readOctal(header, 124, 12);
    if (size === undefined)
      throw fail(`unreadable tar size field at byte ${position}`, "an octal number", "other text");

    const start = position + blockLength;
    if (start + size > bytes.length) {
      const name = longName ?? readName(header);
      throw fail(`tar archive is cut off inside ${name}`, `${size} bytes`, `${bytes.length - start} bytes`);
    }
    const data = bytes.subarray(start, start + size);
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === "L") {
      longName = readText(data, 0, data.length);
    } else if (type === "x") {
      longName = paxPath(data) ?? longName;
    } else {
      // "0" and NUL are regular files, "7" is a contiguous one; everything else has no content of interest.
      if (type === "0" || type === "\0" || type === "7") entries.push({ name: longName ?? readName(header), data });
      longName = undefined;
    }
    position = start + Math.ceil(size / blockLength) * blockLength;
  }
}

/** The sum of the header's bytes, with the checksum field itself taken as eight spaces. */
function headerChecksum(header: Uint8Array): number {
  let sum = 0;
  header.forEach((byte, index) => {
    sum += index >= 148 && index < 156 ? 0x20 : byte;
  });
  return sum;
}

/** Name of a ustar entry: prefix and name joined by a slash. */
function readName(header: Uint8Array): string {
  const isUstar = readText(header, 257, 5) === "ustar";
  const prefix = isUstar ? readText(header, 345, 155) : "";
  const name = readText(header, 0, 100);
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Text up to the first NUL of a field. */
function readText(bytes: Uint8Array, start: number, length: number): string {
  const field = bytes.subarray(start, start + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

/** An octal number padded with spaces or NULs, or undefined if the field holds anything else. */
function readOctal(bytes: Uint8Array, start: number, length: number): number | undefined {
  const text = readText(bytes, start, length).trim();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

/** The `path` record of a pax header, whose records read "length key=value\n" with the length in bytes. */
function paxPath(data: Uint8Array): string | undefined {
  let position = 0;
  while (position < data.length) {
    const text = new TextDecoder().decode(data.subarray(position));
    const length = Number.parseInt(text, 10);
    if (!(length > 0)) return undefined;
    const record = new TextDecoder().decode(data.subarray(position, position + length));
    const match = /^\d+ path=(.*)\n$/s.exec(record);
    if (match) return match[1];
    position += length;
  }
  return undefined;
}
