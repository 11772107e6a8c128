import { DataError, type DataSource, dataSources, type FileReader, fetchHint, webFiles } from "@thalweg/workloads";

/** Told about every piece of a file that arrives. */
export type LoadingListener = (file: string, loaded: number, total: number) => void;

/**
 * Reads data files from the folder `data/` beside the page. No other address is possible: the page's security policy allows
 * none. A file is read once; what was read serves races that start again on a new device.
 *
 * @param base Address of the folder, with a closing slash.
 */
export function dataFiles(base: string, onLoading: LoadingListener): FileReader {
  const known = new Map<string, Promise<Uint8Array>>();
  const files = webFiles({ base, fetch: (address) => fetchCounted(String(address), onLoading) });
  return {
    read(source, file) {
      const path = `${source.folder}/${file.name}`;
      const reading = known.get(path) ?? files.read(source, file).catch((error) => explain(error, source));
      known.set(path, reading);
      // A failure is not kept: the file may be there the next time.
      reading.catch(() => known.delete(path));
      return reading;
    },
  };
}

async function fetchCounted(address: string, onLoading: LoadingListener): Promise<Response> {
  const response = await fetch(address);
  if (!response.ok || response.body === null) return response;
  const name = address.slice(address.lastIndexOf("/") + 1);
  const total = sizeOf(name);
  let loaded = 0;
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        loaded += chunk.length;
        onLoading(name, loaded, Math.max(total, loaded));
        controller.enqueue(chunk);
      },
    }),
  );
  return new Response(counted as ReadableStream<Uint8Array<ArrayBuffer>>, { status: response.status });
}

function sizeOf(name: string): number {
  const all = Object.values(dataSources).flatMap(({ files }) => Object.values(files));
  return all.find((file) => file.name === name)?.bytes ?? 0;
}

/** The message of a file that this server does not have says how it gets there. */
function explain(error: unknown, source: DataSource): never {
  if (!(error instanceof DataError)) throw error;
  throw new DataError({
    file: error.file,
    problem: error.problem,
    fix:
      `This server has no good copy of ${source.title}. Whoever runs it can add one: ${fetchHint(source)} ` +
      "The demo's README has the rest. The generated digits need no file.",
    cause: error,
  });
}
