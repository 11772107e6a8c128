/**
 * What was measured on one adapter: for every class of problems the variant that was fastest.
 *
 * On disk it is one JSON document per adapter. Entries are checked where they are used (a variant that the engine would
 * not offer for a problem is not taken), so that reading only has to make sure that an entry is an entry.
 */
import type { AdapterDescription } from "../device/adapter";

/** Any plain data; variants are compared by their JSON text. */
export type Variant = Readonly<Record<string, unknown>>;

/** The fastest variant of a class. */
export interface TunedEntry {
  readonly variant: Variant;
  /** Of one dispatch on the problem that was measured. */
  readonly nanoseconds: number;
  /** Of the variant that the engine chooses without a table, on the same problem. */
  readonly untunedNanoseconds: number;
}

/** The version of the document's form. */
const formatVersion = 1;
const format = "thalweg tuning table";

/**
 * What times depend on besides the kernel: the GPU and its driver, which says its version in the description where it says
 * it at all. Driver updates without a word in any of these go unnoticed; the table is slower then, never wrong.
 */
export function adapterKey(adapter: AdapterDescription): string {
  const { vendor, architecture, device, description, backend, subgroupMinSize, subgroupMaxSize } = adapter;
  return [vendor, architecture, device, description, backend, `${subgroupMinSize}-${subgroupMaxSize}`].join("|");
}

/** A name for the adapter's document: a part that people can read, and a hash that tells adapters apart. */
export function documentName(adapter: AdapterDescription): string {
  const key = adapterKey(adapter);
  const words = `${adapter.vendor} ${adapter.architecture} ${adapter.description}`.toLowerCase();
  const readable = words
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 48);
  return `${readable || "adapter"}-${hash(key).toString(16).padStart(8, "0")}`;
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193);
  return state >>> 0;
}

/** The document with the entries. Equal entries give equal text. */
export function formatTable(adapter: AdapterDescription, entries: ReadonlyMap<string, TunedEntry>): string {
  const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  const document = {
    format,
    version: formatVersion,
    adapter: adapterKey(adapter),
    entries: Object.fromEntries(sorted),
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

/** The entries of a document; none if it is damaged, of another form or of another adapter. Damaged entries are left out. */
export function parseTable(adapter: AdapterDescription, text: string | undefined): Map<string, TunedEntry> {
  const entries = new Map<string, TunedEntry>();
  const document = parsed(text);
  if (!isRecord(document) || document.format !== format || document.version !== formatVersion) return entries;
  if (document.adapter !== adapterKey(adapter) || !isRecord(document.entries)) return entries;
  for (const [key, entry] of Object.entries(document.entries)) {
    if (!isRecord(entry) || !isRecord(entry.variant)) continue;
    const { variant, nanoseconds, untunedNanoseconds } = entry;
    if (!isDuration(nanoseconds) || !isDuration(untunedNanoseconds)) continue;
    entries.set(key, { variant, nanoseconds, untunedNanoseconds });
  }
  return entries;
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    // What cannot be read counts as not there: it can be measured again.
    return undefined;
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isDuration = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value) && value >= 0;
