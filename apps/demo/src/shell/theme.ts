import { computed, signal } from "@preact/signals";

/** What the reader chose: a scheme, or whatever the system has. */
export type ThemeChoice = "system" | "light" | "dark";

const storageKey = "thalweg-theme";
const systemDark = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
const systemIsDark = signal(systemDark?.matches ?? false);

/** The choice; {@link chooseTheme} changes it. */
export const themeChoice = signal<ThemeChoice>("system");

/** The scheme that the page has now. Whatever paints with values instead of style sheets reads it. */
export const scheme = computed<"light" | "dark">(() => {
  if (themeChoice.value !== "system") return themeChoice.value;
  return systemIsDark.value ? "dark" : "light";
});

/** Sets the scheme, now and for later visits. */
export function chooseTheme(choice: ThemeChoice): void {
  themeChoice.value = choice;
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  try {
    localStorage.setItem(storageKey, choice);
  } catch {
    // Storage may be forbidden; the choice then holds for this visit.
  }
}

/** Takes up the choice of the last visit, and follows the system's setting. */
export function startTheme(): void {
  systemDark?.addEventListener("change", ({ matches }) => {
    systemIsDark.value = matches;
  });
  let stored: string | null = null;
  try {
    stored = localStorage.getItem(storageKey);
  } catch {
    // As above.
  }
  if (stored === "light" || stored === "dark") chooseTheme(stored);
}
