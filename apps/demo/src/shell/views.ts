import type { ComponentType } from "preact";

/** A module that holds a view: loaded when its view is first opened. */
export interface ViewModule {
  readonly View: ComponentType;
}

/** A view as the navigation shows it. */
export interface ViewEntry {
  /** In the location's hash. */
  readonly id: string;
  readonly title: string;
  readonly load: () => Promise<ViewModule>;
}

/** All views, in the order of the navigation; the first is where visitors arrive. */
export const views: readonly ViewEntry[] = [
  { id: "race", title: "Race", load: () => import("../race/view") },
  { id: "valley", title: "Valley", load: () => import("../valley/view") },
  { id: "help", title: "Help", load: () => import("../help/view") },
];
