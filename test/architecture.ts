import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, posix, relative, resolve, sep } from "node:path";
import ts from "typescript";

/** Who may import whom. A new package starts here; the order is bottom to top. */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  "@thalweg/tensor": [],
  "@thalweg/autograd": ["@thalweg/tensor"],
  "@thalweg/nn": ["@thalweg/tensor"],
  "@thalweg/curvature": ["@thalweg/tensor", "@thalweg/autograd"],
  "@thalweg/optim": ["@thalweg/tensor", "@thalweg/autograd", "@thalweg/curvature"],
  "@thalweg/workloads": ["@thalweg/tensor", "@thalweg/nn"],
  "@thalweg/bench": [
    "@thalweg/tensor",
    "@thalweg/autograd",
    "@thalweg/curvature",
    "@thalweg/nn",
    "@thalweg/optim",
    "@thalweg/workloads",
  ],
  thalweg: [
    "@thalweg/tensor",
    "@thalweg/autograd",
    "@thalweg/curvature",
    "@thalweg/nn",
    "@thalweg/optim",
    "@thalweg/workloads",
    "@thalweg/bench",
  ],
  "@thalweg/demo": [
    "@thalweg/tensor",
    "@thalweg/autograd",
    "@thalweg/nn",
    "@thalweg/curvature",
    "@thalweg/optim",
    "@thalweg/workloads",
    "@thalweg/bench",
  ],
};

/** What only runs in Node, packages and folders; everywhere else whatever needs Node is in files named `*.node.ts`. */
const nodeOnly: readonly string[] = ["packages/bench/src/cli/", "packages/thalweg/src/cli.ts"];
const isForNode = (path: string): boolean =>
  path.endsWith(".node.ts") || nodeOnly.some((prefix) => path.startsWith(prefix));

export interface Manifest {
  readonly name: string;
  readonly version?: string;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly imports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** A package as the rules see it: its manifest and the text of its files, by path relative to the repository. */
export interface PackageSources {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, string>;
}

interface Import {
  readonly from: string;
  readonly specifier: string;
  /** `deferred` imports (`import()`) and `type` imports cannot make a module cycle at run time. */
  readonly kind: "value" | "deferred" | "type";
}

/** All packages and apps of the repository, with every TypeScript file under `src`. */
export function readPackages(root: string): readonly PackageSources[] {
  const folders = ["packages", "apps"].flatMap((parent) =>
    readdirSync(join(root, parent))
      .filter((name) => existsSync(join(root, parent, name, "package.json")))
      .map((name) => posix.join(parent, name)),
  );
  return folders.map((folder) => {
    const manifest: Manifest = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"));
    const sources = join(root, folder, "src");
    const paths = readdirSync(sources, { recursive: true, encoding: "utf8" }).filter((path) => /\.tsx?$/.test(path));
    const files = new Map(
      paths.map((path) => {
        const absolute = join(sources, path);
        return [relative(root, absolute).split(sep).join("/"), readFileSync(absolute, "utf8")] as const;
      }),
    );
    return { folder, manifest, files };
  });
}

/** Every breach of the import rules, one sentence each, beginning with the offending path. */
export function importOffences(packages: readonly PackageSources[]): readonly string[] {
  return [
    ...packages.flatMap((each) => manifestOffences(each, packages)),
    ...packages.flatMap((each) => packageOffences(each, packages)),
    ...packages.flatMap(cycleOffences),
    ...cycles(new Map(Object.entries(mayImport))).map((path) => `test/architecture.ts allows the cycle ${path}`),
  ];
}

function manifestOffences({ folder, manifest }: PackageSources, packages: readonly PackageSources[]): string[] {
  const path = `${folder}/package.json`;
  const allowed = mayImport[manifest.name];
  if (allowed === undefined) return [`${path}: ${manifest.name} is not in the table of test/architecture.ts`];
  const offences: string[] = [];
  for (const [name, range] of Object.entries(declared(manifest))) {
    const sibling = packages.find((other) => other.manifest.name === name);
    if (sibling === undefined) continue;
    if (!allowed.includes(name)) offences.push(`${path}: ${manifest.name} may not depend on ${name}`);
    if (range !== `^${sibling.manifest.version}`) {
      offences.push(`${path}: ${name} ${range} is not the version of this repository, ^${sibling.manifest.version}`);
    }
  }
  for (const [subpath, target] of Object.entries(manifest.exports ?? {})) {
    if (typeof target !== "object" || target === null) continue;
    if (Object.keys(target)[0] !== "@thalweg/source") {
      offences.push(`${path}: the export ${subpath} must begin with the condition @thalweg/source`);
    }
  }
  return offences;
}

function packageOffences(each: PackageSources, packages: readonly PackageSources[]): string[] {
  const { files } = each;
  const imports = [...files].flatMap(([path, text]) => importsOf(path, text));
  const offences = imports.flatMap((found) => {
    const problem =
      likeAnAddon(found) ?? (isTest(found.from) ? reachesOut(found, each) : problemOf(found, each, packages));
    return problem === undefined ? [] : [`${found.from}: imports "${found.specifier}", ${problem}`];
  });
  return [
    ...offences,
    ...[...files].flatMap(([path, text]) => globalOffences(path, text)),
    ...unusedDependencies(each, packages, new Set(imports.map(({ specifier }) => packageName(specifier)))),
  ];
}

/** Dependencies that nothing in `src` needs. Types and what a sibling has as a peer are needed without an import. */
function unusedDependencies(
  { folder, manifest, files }: PackageSources,
  packages: readonly PackageSources[],
  imported: ReadonlySet<string>,
): string[] {
  const peers = new Set(packages.flatMap((other) => Object.keys(other.manifest.peerDependencies ?? {})));
  const isTypes = (name: string): boolean => name.startsWith("@types/") || name === "@webgpu/types";
  // A data file of a package is not imported but resolved by its name.
  const isNamed = (name: string): boolean => [...files.values()].some((text) => text.includes(`"${name}/`));
  return Object.keys(manifest.dependencies ?? {})
    .filter((name) => !imported.has(name) && !peers.has(name) && !isTypes(name) && !isNamed(name))
    .map((name) => `${folder}/package.json: depends on ${name}, which no file in src imports`);
}

/** The global `process` outside of what runs in Node only. */
function globalOffences(path: string, text: string): string[] {
  if (isForNode(path) || isTest(path)) return [];
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  const uses = (node: ts.Node): boolean =>
    (ts.isPropertyAccessExpression(node) && isProcess(node.expression)) ||
    (ts.isTypeOfExpression(node) && isProcess(node.expression)) ||
    ts.forEachChild(node, (child) => uses(child) || undefined) === true;
  return uses(file) ? [`${path}: uses process, which a browser lacks; only files named *.node.ts may`] : [];
}

function isProcess(node: ts.Node): boolean {
  const name = ts.isPropertyAccessExpression(node) ? node.name : node;
  return ts.isIdentifier(name) && name.text === "process";
}

function problemOf(found: Import, each: PackageSources, packages: readonly PackageSources[]): string | undefined {
  const { from, specifier } = found;
  const { manifest, folder } = each;
  if (specifier.startsWith(".")) {
    if (posix.join(posix.dirname(from), specifier) === `${folder}/src/index`) {
      return "the list of public names; import the defining file";
    }
    return reachesOut(found, each);
  }
  if (specifier.startsWith("#")) {
    return manifest.imports?.[specifier] === undefined ? `which ${folder}/package.json does not define` : undefined;
  }
  if (isBuiltin(specifier)) {
    return isForNode(from) ? undefined : "which a browser lacks; only files named *.node.ts may";
  }
  const name = packageName(specifier);
  if (name === manifest.name) return "itself; import the defining file";
  const sibling = packages.find((other) => other.manifest.name === name);
  if (sibling !== undefined) {
    if (!mayImport[manifest.name]?.includes(name)) return `which ${manifest.name} may not; arrows point one way`;
    const subpath = `.${specifier.slice(name.length)}`;
    if (sibling.manifest.exports?.[subpath] === undefined) return `which ${name} does not export`;
  }
  return declared(manifest)[name] === undefined ? `which ${folder}/package.json does not declare` : undefined;
}

/** The build would look for a file of that very name, which a native addon has. */
function likeAnAddon({ specifier }: Import): string | undefined {
  return specifier.endsWith(".node") ? "which bundlers take for a native addon; write .node.js" : undefined;
}

function reachesOut({ from, specifier }: Import, { folder }: PackageSources): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const target = posix.join(posix.dirname(from), specifier);
  // Tests may use what the repository's own test folder offers.
  const inside = target.startsWith(`${folder}/`) || (isTest(from) && target.startsWith("test/"));
  return inside ? undefined : "outside its package; import the published name";
}

function cycleOffences({ files }: PackageSources): string[] {
  const graph = new Map<string, readonly string[]>();
  for (const [path, text] of files) {
    const targets = importsOf(path, text)
      .filter(({ kind, specifier }) => kind === "value" && specifier.startsWith("."))
      .map(({ specifier }) => posix.join(posix.dirname(path), specifier))
      .map((target) => target.replace(/\.js$/, ""))
      .map((target) => [`${target}.ts`, `${target}.tsx`, `${target}/index.ts`].find((file) => files.has(file)))
      .filter((file) => file !== undefined);
    graph.set(path, targets);
  }
  return cycles(graph).map((path) => `cyclic import: ${path}`);
}

/** The cycles of a graph, each once, written as `a -> b -> a`. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const trail: string[] = [];
  const found: string[] = [];
  const visit = (node: string): void => {
    const start = trail.indexOf(node);
    if (start >= 0) found.push([...trail.slice(start), node].join(" -> "));
    if (start >= 0 || done.has(node)) return;
    trail.push(node);
    for (const next of graph.get(node) ?? []) visit(next);
    trail.pop();
    done.add(node);
  };
  for (const node of graph.keys()) visit(node);
  return found;
}

/** All imports of a file, static, re-exporting and dynamic. */
function importsOf(path: string, text: string): readonly Import[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  const imports: Import[] = [];
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
      const typeOnly = ts.isImportDeclaration(node) ? node.importClause?.isTypeOnly === true : node.isTypeOnly;
      add(node.moduleSpecifier, typeOnly ? "type" : "value");
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      if (node.arguments[0] !== undefined) add(node.arguments[0], "deferred");
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, "type");
    }
    ts.forEachChild(node, visit);
  };
  const add = (specifier: ts.Node, kind: Import["kind"]): void => {
    if (ts.isStringLiteralLike(specifier)) imports.push({ from: path, specifier: specifier.text, kind });
  };
  visit(file);
  return imports;
}

function declared(manifest: Manifest): Readonly<Record<string, string>> {
  return { ...manifest.peerDependencies, ...manifest.optionalDependencies, ...manifest.dependencies };
}

function packageName(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

function isTest(path: string): boolean {
  return /\.test(-d)?\.tsx?$/.test(path);
}

/** Paths of all files that belong to the repository, relative to it and with forward slashes. */
export function repositoryFiles(root: string): readonly string[] {
  const skipped = new Set(["node_modules", "dist", ".git", ".turbo", "coverage"]);
  const walk = (folder: string): string[] =>
    readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
      if (skipped.has(entry.name)) return [];
      const path = posix.join(folder, entry.name);
      return entry.isDirectory() ? walk(path) : [path];
    });
  return walk(".");
}

/** Breaches of the rules on file names. */
export function nameOffences(paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) => {
    const name = posix.basename(path);
    if (!/\.(ts|tsx|mjs|js)$/.test(name)) return [];
    const stem = name.slice(0, name.indexOf("."));
    if (/^(utils?|helpers?|common|misc)$/.test(stem)) return [`${path}: name the concept, not "${stem}"`];
    return /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+$/.test(name) ? [] : [`${path}: names are kebab-case`];
  });
}

/**
 * Kernels that would update floats through atomics on their bits: their sums have no fixed order, so that the same
 * program would give other numbers each time.
 */
export function atomicOffences(files: ReadonlyMap<string, string>): readonly string[] {
  return [...files].flatMap(([path, text]) =>
    !isTest(path) &&
    /\batomic(Add|Sub|Max|Min|Store|Exchange|CompareExchangeWeak)\b/.test(text) &&
    /\bbitcast</.test(text)
      ? [`${path}: atomics on the bits of floats; give the sum a fixed order`]
      : [],
  );
}

export const repositoryRoot = resolve(dirname(import.meta.filename), "..");
