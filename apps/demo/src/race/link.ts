import { effect, signal, untracked } from "@preact/signals";
import { replaceQuery, route } from "../shell/route";
import { catalogue } from "./engine";
import { decodeSettings, defaultSettings, defaultWorkload, encodeSettings, type RaceSettings } from "./settings";

/** What the visitor has chosen. {@link chooseSettings} changes it. */
export const settings = signal<RaceSettings>(defaultSettings(defaultWorkload));

/** What of the link could not be had. */
export const linkProblems = signal<readonly string[]>([]);

/** Changes the settings, and the address with them, so that it always reproduces the race. */
export function chooseSettings(next: RaceSettings): void {
  settings.value = next;
  linkProblems.value = [];
  replaceQuery(encodeSettings(next));
}

/** Takes the settings from the address, now and whenever somebody opens another link. Returns what ends it. */
export function followLink(): () => void {
  return effect(() => {
    const { view, query } = route.value;
    const known = catalogue.value;
    if (view !== "race" || known === undefined) return;
    untracked(() => {
      if (query === encodeSettings(settings.value)) return;
      const decoded = decodeSettings(query, known);
      settings.value = decoded.settings;
      linkProblems.value = decoded.problems;
    });
  });
}
