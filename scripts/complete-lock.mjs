// npm leaves an optional package out of the lock file when the registry that it asks does not have it, as a mirror
// that serves one platform only. `npm ci` then refuses the lock file everywhere. This adds what is missing: version,
// system and processor, all of which the package names tell. Run it after `npm install`.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const path = resolve(import.meta.dirname, "../package-lock.json");
const lock = JSON.parse(readFileSync(path, "utf8"));
const added = missingOptional(lock);
for (const { name, version, dev } of added) {
  lock.packages[`node_modules/${name}`] = { version, ...platform(name), ...(dev ? { dev } : {}), optional: true };
}
const [root, ...rest] = Object.entries(lock.packages);
const sorted = rest.sort(([a], [b]) => a.localeCompare(b, "en"));
lock.packages = Object.fromEntries([root, ...sorted]);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length === 0 ? "The lock file is complete." : `Added ${added.map(({ name }) => name).join(", ")}.`);

/** The optional dependencies that the lock file mentions and does not list. */
function missingOptional({ packages }) {
  const found = new Map();
  for (const [location, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const listed = [`${location}/node_modules/${name}`, `node_modules/${name}`].some((key) => packages[key]);
      if (!listed) found.set(name, { name, version, dev: entry.dev });
    }
  }
  return [...found.values()];
}

function platform(name) {
  const words = name.split("/").at(-1).split("-");
  const pick = (table) => table[words.find((word) => table[word] !== undefined)];
  const os = pick({
    android: "android",
    darwin: "darwin",
    freebsd: "freebsd",
    linux: "linux",
    openbsd: "openbsd",
    openharmony: "openharmony",
    win32: "win32",
    windows: "win32",
  });
  const cpu = pick({
    64: "x64",
    arm: "arm",
    arm64: "arm64",
    ia32: "ia32",
    loong64: "loong64",
    ppc64: "ppc64",
    riscv64: "riscv64",
    s390x: "s390x",
    x64: "x64",
  });
  const libc =
    os === "linux" ? pick({ gnu: "glibc", gnueabihf: "glibc", musl: "musl", musleabihf: "musl" }) : undefined;
  if (os === undefined || cpu === undefined) throw new Error(`${name}: its name does not tell system and processor.`);
  return { cpu: [cpu], ...(libc ? { libc: [libc] } : {}), os: [os] };
}
