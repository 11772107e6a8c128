const database = "thalweg";
const objects = "tuning";

/** The text under a name in the IndexedDB database `thalweg`. See `TuningStoreModule`. */
export async function readStored(name: string): Promise<string | undefined> {
  return inStore("readonly", async (store) => asText(await settled(store.get(name))));
}

/** One transaction, which the browser runs apart from all others that write. See `TuningStoreModule`. */
export async function updateStored(name: string, change: (before: string | undefined) => string): Promise<void> {
  await inStore("readwrite", async (store) => {
    const before = asText(await settled(store.get(name)));
    await settled(store.put(change(before), name));
  });
}

const asText = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

async function inStore<T>(mode: IDBTransactionMode, use: (store: IDBObjectStore) => Promise<T>): Promise<T> {
  const opening = indexedDB.open(database, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(objects);
  const opened = await settled(opening);
  try {
    const transaction = opened.transaction(objects, mode);
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
    const result = await use(transaction.objectStore(objects));
    await done;
    return result;
  } finally {
    opened.close();
  }
}

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
