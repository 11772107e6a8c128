import { fontFamily, type Theme } from "@thalweg/bench";
import { type ChartLine, type ChartModel, colorOf, dashOf, strokeOf } from "./chart-model";
import { formatTick } from "./format-tick";
import { ticksOf } from "./ticks";

const [width, height] = [760, 440];
const margin = { top: 46, right: 24, bottom: 52, left: 64 };
const legendLine = 20;

/**
 * A chart as a file: an SVG document of its own, with colours as values, text as text, and a legend, since outside of the
 * page nothing else says whose lines these are.
 */
export function chartSvg(model: ChartModel, theme: Theme): string {
  const legend = legendOf(model.lines);
  const total = height + legend.length * legendLine + (legend.length > 0 ? 8 : 0);
  const plot = { left: margin.left, right: width - margin.right, top: margin.top, bottom: height - margin.bottom };
  const x = scale(model.xRange, plot.left, plot.right);
  const y = scale(model.yRange, plot.bottom, plot.top);
  const text = (content: string, attributes: string) => `<text ${attributes}>${escapeXml(content)}</text>`;
  const xTicks = ticksOf(model.xRange, 8).map(
    (tick) =>
      `<line x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${plot.top}" y2="${plot.bottom}" stroke="${theme.grid}"/>` +
      text(
        formatTick(tick),
        `x="${round(x(tick))}" y="${plot.bottom + 18}" text-anchor="middle" fill="${theme.muted}"`,
      ),
  );
  const yTicks = ticksOf(model.yRange, 6).map(
    (tick) =>
      `<line x1="${plot.left}" x2="${plot.right}" y1="${round(y(tick))}" y2="${round(y(tick))}" stroke="${theme.grid}"/>` +
      text(
        formatTick(tick, model.metric),
        `x="${plot.left - 8}" y="${round(y(tick) + 4)}" text-anchor="end" fill="${theme.muted}"`,
      ),
  );
  const target =
    model.target === undefined
      ? ""
      : `<line x1="${plot.left}" x2="${plot.right}" y1="${round(y(model.target))}" y2="${round(y(model.target))}" stroke="${theme.text}" stroke-dasharray="5 4"/>` +
        text(
          `target ${formatTick(model.target, model.metric)}`,
          `x="${plot.left + 6}" y="${round(y(model.target) - 6)}" fill="${theme.text}"`,
        );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" font-family="${escapeXml(fontFamily)}" font-size="12" role="img">`,
    `<title>${escapeXml(model.title)}</title>`,
    `<rect width="${width}" height="${total}" fill="${theme.background}"/>`,
    text(model.title, `x="${plot.left}" y="26" font-size="16" font-weight="600" fill="${theme.text}"`),
    ...xTicks,
    ...yTicks,
    `<clipPath id="plot"><rect x="${plot.left}" y="${plot.top}" width="${plot.right - plot.left}" height="${plot.bottom - plot.top}"/></clipPath>`,
    `<g clip-path="url(#plot)" fill="none" stroke-linejoin="round" stroke-linecap="round">`,
    ...model.lines.map((line) => pathOf(line, x, y, theme)),
    "</g>",
    target,
    text(
      model.abscissa === "seconds" ? "training time in seconds" : "training steps",
      `x="${(plot.left + plot.right) / 2}" y="${plot.bottom + 40}" text-anchor="middle" fill="${theme.muted}"`,
    ),
    ...legend.map((line, index) => {
      const top = height + index * legendLine + 4;
      return (
        `<line x1="${plot.left}" x2="${plot.left + 24}" y1="${top}" y2="${top}" stroke="${colorOf(line, theme)}" stroke-width="2.6"${dashAttribute(line)}/>` +
        text(line.label, `x="${plot.left + 34}" y="${top + 4}" fill="${theme.text}"`)
      );
    }),
    "</svg>",
  ].join("\n");
}

/** One entry for each lane: its first line, with the lane's own name. */
function legendOf(lines: readonly ChartLine[]): readonly ChartLine[] {
  const entries = new Map<string, ChartLine>();
  for (const line of lines) {
    const label = line.label.replace(/, (seed \d+|median|training batches)$/, "");
    if (!entries.has(label)) entries.set(label, { ...line, label });
  }
  return [...entries.values()];
}

function pathOf(line: ChartLine, x: Scale, y: Scale, theme: Theme): string {
  const { width: strokeWidth, opacity } = strokeOf(line);
  const path = line.points.map((point) => `${round(x(point.x))} ${round(y(point.y))}`).join("L");
  return (
    `<path d="M${path}" stroke="${colorOf(line, theme)}" stroke-width="${strokeWidth}" stroke-opacity="${opacity}"${dashAttribute(line)}>` +
    `<title>${escapeXml(line.label)}</title></path>`
  );
}

function dashAttribute({ dash }: ChartLine): string {
  const pattern = dashOf(dash);
  return pattern.length === 0 ? "" : ` stroke-dasharray="${pattern.join(" ")}"`;
}

type Scale = (value: number) => number;

function scale([low, high]: readonly [number, number], from: number, to: number): Scale {
  const clamp = (value: number) => Math.min(Math.max(value, low - (high - low)), high + (high - low));
  return (value) => from + ((clamp(value) - low) / (high - low)) * (to - from);
}

const round = (value: number): number => Number(value.toFixed(2));

function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? character);
}
