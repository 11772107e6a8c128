import { useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { followLocation, hashOf, route } from "./route";
import { scheme } from "./theme";
import { ThemeSwitch } from "./theme-switch";
import { type ViewEntry, views } from "./views";

/** The page: a header with the navigation, and the view that the location names. */
export function App() {
  useEffect(followLocation, []);
  useSignalEffect(() => {
    // The browser's own bar takes the colour of the header.
    const bar = document.querySelector('meta[name="theme-color"]');
    bar?.setAttribute("content", scheme.value === "dark" ? "#151a22" : "#ffffff");
  });
  return (
    <>
      <button type="button" class="skip" onClick={focusContent}>
        Skip to the content
      </button>
      <header class="top">
        <a class="wordmark" href="#race">
          <Mark />
          Thalweg
        </a>
        <nav aria-label="Views">
          {views.map(({ id, title }) => (
            <a key={id} href={hashOf({ view: id, query: "" })} aria-current={currentId() === id ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <ThemeSwitch />
      </header>
      <main id="content" tabIndex={-1}>
        <CurrentView />
      </main>
    </>
  );
}

function currentId(): string {
  return entryOf(route.value.view).id;
}

function entryOf(id: string): ViewEntry {
  // The list of views is not empty.
  return views.find((view) => view.id === id) ?? (views[0] as ViewEntry);
}

/** Not a link into the page, whose hash would replace the route. */
function focusContent(): void {
  document.getElementById("content")?.focus();
}

interface LoadedView {
  readonly id: string;
  readonly View: ComponentType;
}

/** Loads the view that the location names; the one before it stays until then. */
function CurrentView() {
  const loaded = useSignal<LoadedView | undefined>(undefined);
  const failure = useSignal<string | undefined>(undefined);
  const wanted = useRef("");
  useSignalEffect(() => {
    const { id, title, load } = entryOf(route.value.view);
    if (wanted.current === id) return;
    const isFirst = wanted.current === "";
    wanted.current = id;
    document.title = `${title} · Thalweg`;
    load().then(
      ({ View }) => {
        if (wanted.current !== id) return;
        failure.value = undefined;
        loaded.value = { id, View };
        // Readers who do not see the page hear that it changed.
        if (!isFirst) focusContent();
      },
      () => {
        failure.value = `The view “${title}” could not be loaded. Check the connection, and reload the page.`;
      },
    );
  });
  if (failure.value !== undefined) return <p role="alert">{failure.value}</p>;
  if (loaded.value === undefined) return <p class="muted">Loading …</p>;
  const { id, View } = loaded.value;
  return <View key={id} />;
}

/** The mark: a valley's profile, and what has come to rest at its bottom. */
function Mark() {
  return (
    <svg aria-hidden="true" viewBox="0 0 32 32" width="26" height="26" class="mark">
      <path d="M3 7c4 0 5 5 7 9s3 8 6 8 4-4 6-8 3-9 7-9" />
      <path class="inner" d="M9 7c2.5 0 3 3 4 5.5S15 17 16 17s2-2 3-4.5S20.5 7 23 7" />
      <circle cx="16" cy="24" r="3" />
    </svg>
  );
}
