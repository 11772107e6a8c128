import { randomUUID } from "node:crypto";
import { access, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
// With an extension, because without one the name looks like a native addon to bundlers.
import { cacheFolder } from "./cache-folder.node.js";

/** The npm package that carries a SwiftShader build for Linux on x64. */
export const swiftshaderPackage = "@sparticuz/chromium";

/** The files of the archive that Vulkan needs; the others are for OpenGL. */
const wantedFiles = ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"];

/** A folder with SwiftShader's files. */
export interface SwiftShader {
  /** The Vulkan loader that came with it. */
  readonly loader: string;
  /** The driver manifest, for `VK_DRIVER_FILES`. */
  readonly manifest: string;
}

/**
 * Unpacks SwiftShader from the npm package into the cache folder, once per version, and returns its files.
 *
 * The folder is `swiftshader-<version>` in the cache folder. Several processes may do this at once: each unpacks beside it, and the first rename wins.
 *
 * @throws Error - If the package is missing or its archive cannot be read; the caller turns it into its own message.
 */
export async function unpackSwiftShader(): Promise<SwiftShader> {
  // The package exports no package.json, so that its place follows from its main file: <root>/build/cjs/index.cjs.
  const root = packageRoot(createRequire(import.meta.url).resolve(swiftshaderPackage));
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  const folder = join(cacheFolder(), `swiftshader-${version}`);
  const files = { loader: join(folder, "libvulkan.so.1"), manifest: join(folder, "vk_swiftshader_icd.json") };
  if (await exists(files.manifest)) return files;

  const archive = await promisify(brotliDecompress)(await readFile(join(root, "bin", "swiftshader.tar.br")));
  const partial = `${folder}.${randomUUID()}`;
  await mkdir(partial, { recursive: true });
  try {
    for (const { name, bytes } of tarEntries(archive)) {
      if (wantedFiles.includes(name)) await writeFile(join(partial, name), bytes, { mode: 0o755 });
    }
    for (const name of wantedFiles) await access(join(partial, name));
    await rename(partial, folder);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // Renaming onto a folder that has files fails, which means that another process was first.
    if (!(await exists(files.manifest))) throw error;
  }
  return files;
}

/**
 * The regular files of an uncompressed tar archive (POSIX ustar: blocks of 512 bytes, a header before each file with
 * the name at byte 0, the octal size at byte 124 and the type at byte 156).
 */
export function* tarEntries(archive: Uint8Array): Generator<{ readonly name: string; readonly bytes: Uint8Array }> {
  const block = 512;
  const text = (start: number, length: number): string => {
    const field = archive.subarray(start, start + length);
    const end = field.indexOf(0);
    return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
  };
  for (let header = 0; header + block <= archive.length; ) {
    const name = text(header, 100);
    if (name === "") return;
    const size = Number.parseInt(text(header + 124, 12).trim(), 8);
    const type = text(header + 156, 1);
    const start = header + block;
    if (type === "0" || type === "")
      yield { name: name.replace(/^\.\//, ""), bytes: archive.subarray(start, start + size) };
    header = start + Math.ceil(size / block) * block;
  }
}

function packageRoot(mainFile: string): string {
  return dirname(dirname(dirname(mainFile)));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
