import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useSignal } from "@preact/signals";
import type { Theme } from "@thalweg/bench";
import { type ChartLine, type ChartModel, colorOf, dashOf, strokeOf } from "./chart-model";
import { chartSvg } from "./chart-svg";
import { formatTick } from "./format-tick";
import { PictureMenu } from "./picture-menu";

/** Milliseconds between two drawings while data arrive. */
const drawMs = 250;

/** A live chart. What it shows can be exported, and is in a table for those who do not see it. */
export function Chart({ model, theme }: { readonly model: ChartModel; readonly theme: Theme }) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<DrawnPlot | undefined>(undefined);
  const latest = useRef(model);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const hovered = useSignal("");
  latest.current = model;

  useEffect(() => {
    // Rendered above.
    const element = host.current as HTMLDivElement;
    const observer = new ResizeObserver(() => plot.current?.resize());
    observer.observe(element);
    return () => {
      observer.disconnect();
      clearTimeout(timer.current);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, []);

  useEffect(() => {
    const draw = () => {
      timer.current = undefined;
      const element = host.current;
      if (element === null) return;
      if (plot.current?.fits(latest.current, theme) !== true) {
        plot.current?.destroy();
        plot.current = new DrawnPlot(element, latest.current, theme, (text) => {
          hovered.value = text;
        });
      } else {
        plot.current.update(latest.current);
      }
    };
    if (plot.current === undefined) draw();
    else timer.current ??= setTimeout(draw, drawMs);
  }, [model, theme]);

  return (
    <figure class="chart" aria-labelledby={`${model.id}-title`}>
      <figcaption id={`${model.id}-title`}>{model.title}</figcaption>
      <span class="hovered" aria-hidden="true">
        {hovered.value}
      </span>
      <PictureMenu
        title={`the chart “${model.title}”`}
        name={`thalweg-${model.id}`}
        disabled={model.lines.length === 0}
        draw={(own) => chartSvg(model, own)}
      />
      <div class="plot" ref={host} role="img" aria-label={describe(model)} />
      <ChartData model={model} />
    </figure>
  );
}

/** What the picture shows, in a sentence. */
function describe({ title, lines, target, metric }: ChartModel): string {
  const runs = lines.filter(({ kind }) => kind === "run").length;
  const goal = target === undefined ? "" : ` A dashed line marks the target, ${formatTick(target, metric)}.`;
  return `${title}: ${runs === 0 ? "no run yet" : `${runs} ${runs === 1 ? "run" : "runs"}`}.${goal} The table below has the numbers.`;
}

/** The points of a chart as a table, made when it is opened. */
function ChartData({ model }: { readonly model: ChartModel }) {
  const isOpen = useSignal(false);
  return (
    <details
      class="chart-data"
      onToggle={({ currentTarget }) => {
        isOpen.value = currentTarget.open;
      }}
    >
      <summary>
        Data<span class="visually-hidden"> of the chart “{model.title}”</span>
      </summary>
      {isOpen.value && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard.
        <section class="scroll" tabIndex={0} aria-label={`Data of the chart “${model.title}”`}>
          <table>
            <thead>
              <tr>
                <th scope="col">line</th>
                <th scope="col">{model.abscissa}</th>
                <th scope="col">{model.metric}</th>
              </tr>
            </thead>
            <tbody>
              {model.lines.flatMap(({ label, points }) =>
                points.map(({ x, y }) => (
                  <tr key={`${label} ${x}`}>
                    <td>{label}</td>
                    <td>{Number(x.toPrecision(6))}</td>
                    <td>{Number(y.toPrecision(6))}</td>
                  </tr>
                )),
              )}
            </tbody>
          </table>
        </section>
      )}
    </details>
  );
}

/** A uPlot with the lines of a model. */
class DrawnPlot {
  readonly #host: HTMLElement;
  readonly #plot: uPlot;
  readonly #shape: string;
  readonly #theme: Theme;
  #model: ChartModel;

  constructor(host: HTMLElement, model: ChartModel, theme: Theme, onHover: (text: string) => void) {
    this.#host = host;
    this.#model = model;
    this.#theme = theme;
    this.#shape = shapeOf(model);
    this.#plot = new uPlot(this.#options(theme, onHover), align(model.lines), host);
  }

  /** Whether the plot has the lines that a model has: then only numbers change. */
  fits(model: ChartModel, theme: Theme): boolean {
    return theme === this.#theme && shapeOf(model) === this.#shape;
  }

  update(model: ChartModel): void {
    this.#model = model;
    this.#plot.setData(align(model.lines));
  }

  resize(): void {
    this.#plot.setSize(this.#size());
  }

  destroy(): void {
    this.#plot.destroy();
  }

  #size(): { width: number; height: number } {
    return { width: this.#host.clientWidth, height: this.#host.clientHeight };
  }

  #options(theme: Theme, onHover: (text: string) => void): uPlot.Options {
    const font = `12px ${getComputedStyle(this.#host).fontFamily}`;
    const axis: uPlot.Axis = {
      stroke: theme.muted,
      font,
      grid: { stroke: theme.grid, width: 1 },
      ticks: { show: false },
    };
    const { metric, abscissa } = this.#model;
    const unit = abscissa === "seconds" ? " s" : "";
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { setScale: false },
        focus: { prox: 24 },
      },
      focus: { alpha: 0.25 },
      scales: {
        x: { time: false, range: () => [...this.#model.xRange] },
        y: { range: () => [...this.#model.yRange] },
      },
      axes: [
        { ...axis, size: 34, values: (_, ticks) => ticks.map((tick) => formatTick(tick) + unit) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => formatTick(tick, metric)) },
      ],
      series: [
        {},
        ...this.#model.lines.map((line): uPlot.Series => {
          const { width, opacity } = strokeOf(line);
          return {
            label: line.label,
            stroke: colorOf(line, theme),
            width,
            alpha: opacity,
            dash: [...dashOf(line.dash)],
            spanGaps: true,
            points: { show: false },
          };
        }),
      ],
      hooks: {
        draw: [(plot) => drawTarget(plot, this.#model, theme)],
        setCursor: [(plot) => onHover(this.#hovered(plot))],
        setSeries: [(plot) => onHover(this.#hovered(plot))],
      },
    };
  }

  #hovered(plot: uPlot): string {
    const focused = plot.series.findIndex((series, index) => index > 0 && "_focus" in series && series._focus === true);
    const at = plot.cursor.idxs?.[focused] ?? plot.cursor.idx;
    if (focused < 1 || at === null || at === undefined) return "";
    const [x, y] = [plot.data[0][at], plot.data[focused]?.[at]];
    if (x === undefined || y === undefined || y === null) return "";
    const { abscissa, metric } = this.#model;
    const position = abscissa === "seconds" ? `${Number(x.toPrecision(3))} s` : `step ${x}`;
    const value = metric === "accuracy" ? `${(100 * y).toFixed(1)} %` : String(Number(y.toPrecision(4)));
    return `${plot.series[focused]?.label ?? ""} · ${position} · ${value}`;
  }
}

/** What a plot is built for; data that fit need no new one. */
function shapeOf({ lines, metric }: ChartModel): string {
  return JSON.stringify([metric, lines.map(({ label, color, dash, kind }) => [label, color, dash, kind])]);
}

/** All lines over one list of x, as uPlot wants them: null where a line has no point. */
function align(lines: readonly ChartLine[]): uPlot.AlignedData {
  if (lines.length === 0) return [[]];
  return uPlot.join(lines.map(({ points }) => [points.map(({ x }) => x), points.map(({ y }) => y)]));
}

function drawTarget(plot: uPlot, { target, metric }: ChartModel, theme: Theme): void {
  if (target === undefined) return;
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  const y = Math.round(plot.valToPos(target, "y", true)) + 0.5;
  ctx.save();
  ctx.strokeStyle = theme.text;
  ctx.fillStyle = theme.text;
  ctx.lineWidth = scale;
  ctx.setLineDash([5 * scale, 4 * scale]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  // On the left, where no curve is near its end.
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.font = `${12 * scale}px ${getComputedStyle(plot.root).fontFamily}`;
  ctx.fillText(`target ${formatTick(target, metric)}`, bbox.left + 4 * scale, y - 3 * scale);
  ctx.restore();
}
