import { DataError } from "../errors";
import { unpackVerified } from "./checksum";
import type { FileReader } from "./sources";

/** Where {@link webFiles} looks. */
export interface WebFilesOptions {
  /** Address of a folder that has one folder per data set, for example `"/data/"`; publishers' own by default. */
  readonly base?: string | undefined;
  /** Replaces the platform's `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Reads data files over the network, for pages in a browser: from a folder beside the page or, where the publisher lets
 * other sites read, from the publisher. Nothing is kept beyond the browser's own cache.
 */
export function webFiles({ base, fetch = globalThis.fetch }: WebFilesOptions = {}): FileReader {
  return {
    async read(source, file) {
      const address = base === undefined ? source.address + file.name : `${base}${source.folder}/${file.name}`;
      const fix =
        "Check that the page may reach this address, or serve a copy of the file and pass its folder as base.";
      const fail = (problem: string, cause?: unknown) => new DataError({ file: address, problem, fix, cause });
      let response: Response;
      try {
        response = await fetch(address);
      } catch (cause) {
        throw fail("cannot be reached", cause);
      }
      if (!response.ok) throw fail(`the server answers ${response.status} ${response.statusText}`.trimEnd());
      return unpackVerified(new Uint8Array(await response.arrayBuffer()), file, { where: address, fix });
    },
  };
}
