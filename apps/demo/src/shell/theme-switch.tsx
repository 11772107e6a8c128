import { chooseTheme, type ThemeChoice, themeChoice } from "./theme";

const choices: readonly { readonly id: ThemeChoice; readonly title: string }[] = [
  { id: "system", title: "Auto" },
  { id: "light", title: "Light" },
  { id: "dark", title: "Dark" },
];

/** Chooses between light, dark, and the system's setting. */
export function ThemeSwitch() {
  return (
    <fieldset class="segmented theme-switch">
      <legend class="visually-hidden">Colours</legend>
      {choices.map(({ id, title }) => (
        <label key={id}>
          <input
            type="radio"
            name="theme"
            value={id}
            checked={themeChoice.value === id}
            onChange={() => chooseTheme(id)}
          />
          <span>{title}</span>
        </label>
      ))}
    </fieldset>
  );
}
