import { useSignal } from "@preact/signals";
import { darkTheme, lightTheme, type Theme } from "@thalweg/bench";
import { scheme } from "../shell/theme";
import { download, pngBlob, svgBlob } from "./download";

interface PictureMenuProps {
  /** What the picture shows, for readers who only hear the buttons. */
  readonly title: string;
  /** The files' name, without its ending. */
  readonly name: string;
  readonly disabled: boolean;
  /** Draws it in a theme, as an SVG document. */
  readonly draw: (theme: Theme) => string | Promise<string>;
}

/** Saves a picture as SVG or PNG, in the colours that the page has. */
export function PictureMenu({ title, name, disabled, draw }: PictureMenuProps) {
  const failure = useSignal("");
  const save = async (kind: "svg" | "png") => {
    try {
      const svg = await draw(scheme.value === "dark" ? darkTheme : lightTheme);
      download(`${name}.${kind}`, kind === "svg" ? svgBlob(svg) : await pngBlob(svg));
      failure.value = "";
    } catch (error) {
      failure.value = error instanceof Error ? error.message : String(error);
    }
  };
  return (
    <div class="picture-menu">
      {failure.value !== "" && <span role="alert">{failure.value}</span>}
      {(["svg", "png"] as const).map((kind) => (
        <button key={kind} type="button" class="quiet" disabled={disabled} onClick={() => void save(kind)}>
          {kind.toUpperCase()}
          <span class="visually-hidden"> of {title}</span>
        </button>
      ))}
    </div>
  );
}
