import { signal } from "@preact/signals";

/** Where the reader is: a view, and what its link says about it. The location's hash holds both: `#valley?problem=beale`. */
export interface Route {
  readonly view: string;
  readonly query: string;
}

/** Reads a hash. Without a view it is the first one. */
export function parseHash(hash: string): Route {
  const [view = "", ...query] = hash.replace(/^#\/?/, "").split("?");
  return { view: view === "" ? "race" : view, query: query.join("?") };
}

/** The link to a view with a query, as an anchor's `href`. */
export function hashOf({ view, query }: Route): string {
  return query === "" ? `#${view}` : `#${view}?${query}`;
}

/** The current route. It follows the location: links, the back button, and {@link replaceQuery}. */
export const route = signal<Route>(parseHash(globalThis.location?.hash ?? ""));

/** Follows the location from now on. */
export function followLocation(): void {
  addEventListener("hashchange", () => {
    route.value = parseHash(location.hash);
  });
}

/** Changes what the address says about the current view, without a new entry in the history. */
export function replaceQuery(query: string): void {
  const { view } = route.value;
  if (query === route.value.query) return;
  history.replaceState(null, "", hashOf({ view, query }));
  route.value = { view, query };
}
