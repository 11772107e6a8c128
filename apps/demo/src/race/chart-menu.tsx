import { darkTheme, lightTheme } from "@thalweg/bench";
import { scheme } from "../shell/theme";
import type { ChartModel } from "./chart-model";
import { chartSvg } from "./chart-svg";
import { download, pngBlob, svgBlob } from "./download";

/** Saves a chart as a picture, in the colours that the page has. */
export function ChartMenu({ model }: { readonly model: ChartModel }) {
  const draw = () => chartSvg(model, scheme.value === "dark" ? darkTheme : lightTheme);
  const isEmpty = model.lines.length === 0;
  return (
    <div class="chart-menu">
      <button
        type="button"
        class="quiet"
        disabled={isEmpty}
        onClick={() => download(`thalweg-${model.id}.svg`, svgBlob(draw()))}
      >
        SVG<span class="visually-hidden"> of the chart “{model.title}”</span>
      </button>
      <button
        type="button"
        class="quiet"
        disabled={isEmpty}
        onClick={async () => download(`thalweg-${model.id}.png`, await pngBlob(draw()))}
      >
        PNG<span class="visually-hidden"> of the chart “{model.title}”</span>
      </button>
    </div>
  );
}
