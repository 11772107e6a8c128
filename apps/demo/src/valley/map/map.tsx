import { type ReadonlySignal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useId, useRef } from "preact/hooks";
import { optimizerTitle, pathStatus } from "../describe";
import { formatColor, groundColor } from "../palette";
import { lastStep } from "../paths/summary";
import type { Store } from "../store";
import { contains, type Point } from "../terrain/domain";
import { ticks } from "../terrain/height-scale";
import { pathSize } from "../terrain/terrain";
import { useWidth } from "../use-width";
import { type Frame, frameOf, pointOf, toX, toY, zoomedAt } from "./frame";
import { placeLabels } from "./place-labels";
import { makeTrail, type Trail } from "./trail";

interface MapProps {
  readonly store: Store;
  /** Given the picture, for exports. */
  readonly onPicture: (picture: SVGSVGElement | null) => void;
}

/** The ground from above: contour lines, the thalweg, minima, the start, and the paths up to the current time. */
export function ContourMap({ store, onPicture }: MapProps) {
  const box = useRef<HTMLDivElement>(null);
  const picture = useRef<SVGSVGElement | null>(null);
  const width = useWidth(box);
  const pointer = useSignal<Point | undefined>(undefined);
  const terrain = store.terrain.value;
  const { domain, start } = store.configuration.value;
  const frame = frameOf(domain, width);

  useSignalEffect(() => {
    // Depends on nothing that changes; runs once the picture is there. Preact's handlers of wheels cannot be cancelled.
    const element = picture.current;
    if (element === null) return;
    const zoom = (event: WheelEvent): void => {
      // A pinch on a trackpad arrives as a wheel with the control key.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const own = store.configuration.peek();
      const bounds = element.getBoundingClientRect();
      const at = pointOf(frameOf(own.domain, bounds.width), event.clientX - bounds.left, event.clientY - bounds.top);
      store.change({ domain: zoomedAt(own.domain, at, Math.exp(event.deltaY / 300)) });
    };
    element.addEventListener("wheel", zoom, { passive: false });
    return () => element.removeEventListener("wheel", zoom);
  });

  const placeOf = (event: PointerEvent): Point => {
    const bounds = (picture.current as SVGSVGElement).getBoundingClientRect();
    return pointOf(frame, event.clientX - bounds.left, event.clientY - bounds.top);
  };
  const setStart = (point: Point): void => store.change({ start: rounded(point, frame) });

  return (
    <div class="map" ref={box}>
      {width > 0 && (
        // biome-ignore lint/a11y/useKeyWithClickEvents: the start itself takes keys, and has two fields.
        // biome-ignore lint/a11y/useSemanticElements: a picture with parts that can be used is a group.
        <svg
          ref={(element) => {
            picture.current = element;
            onPicture(element);
          }}
          width={frame.width}
          height={frame.height}
          role="group"
          aria-label="Map of the function, with the paths of the optimizers"
          onPointerMove={(event) => {
            pointer.value = placeOf(event);
            if (event.pointerType === "mouse" && event.buttons === 1) setStart(placeOf(event));
          }}
          onPointerLeave={() => {
            pointer.value = undefined;
          }}
          onPointerDown={(event) => {
            if (event.pointerType === "mouse" && event.button === 0) setStart(placeOf(event));
          }}
          onClick={(event) => {
            // Fingers that scroll the page touch the map too: they set the start with a tap only.
            if (event instanceof PointerEvent && event.pointerType !== "mouse") setStart(placeOf(event));
          }}
        >
          <Ground store={store} frame={frame} />
          <Axes frame={frame} />
          {terrain?.minima.map(({ x, y, value }) => (
            <path key={`${x},${y}`} class="minimum" d={`M${toX(frame, x) - 4.5} ${toY(frame, y) - 4.5}l9 9m0 -9l-9 9`}>
              <title>{`Minimum at ${short(x)}, ${short(y)}: ${short(value)}`}</title>
            </path>
          ))}
          <Trails store={store} frame={frame} />
          <StartMarker store={store} frame={frame} start={start} onMove={setStart} placeOf={placeOf} />
        </svg>
      )}
      <Readout store={store} pointer={pointer} />
    </div>
  );
}

/** Rounded to what a pixel can tell. */
function rounded({ x, y }: Point, { domain, size }: Frame): Point {
  const digits = Math.max(0, Math.ceil(-Math.log10((domain.right - domain.left) / size)));
  return { x: Number(x.toFixed(digits)), y: Number(y.toFixed(digits)) };
}

const short = (value: number): string => String(Number(value.toPrecision(4)));

interface LayerProps {
  readonly store: Store;
  readonly frame: Frame;
}

/** What does not depend on the paths. */
function Ground({ store, frame }: LayerProps) {
  const terrain = store.terrain.value;
  const palette = store.palette.value;
  const id = useId();
  const { left, top, size } = frame;
  const lowest = formatColor(groundColor(palette, 0));
  const corners = { x: left, y: top, width: size, height: size };
  if (terrain === undefined) return <rect {...corners} fill={lowest} />;
  // While the terrain of another domain is computed, the old one keeps its place on the map.
  const [x, y] = [toX(frame, terrain.domain.left), toY(frame, terrain.domain.top)];
  const [sx, sy] = [
    (toX(frame, terrain.domain.right) - x) / pathSize,
    (toY(frame, terrain.domain.bottom) - y) / pathSize,
  ];
  const line = formatColor(palette.line);
  return (
    <g clip-path={`url(#${id}-clip)`}>
      <clipPath id={`${id}-clip`}>
        <rect {...corners} />
      </clipPath>
      <pattern id={`${id}-hatch`} width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <path class="hatch" d="M0 4h8" />
      </pattern>
      <rect {...corners} fill={lowest} />
      <g transform={`translate(${x} ${y}) scale(${sx} ${sy})`} stroke={line} stroke-width="1" stroke-linejoin="round">
        {terrain.contours.map(({ value, height, path }, index) => (
          <path
            key={value}
            d={path}
            fill={formatColor(groundColor(palette, (height + (terrain.contours[index + 1]?.height ?? 1)) / 2))}
            stroke-opacity={index % 3 === 2 ? 0.75 : 0.4}
            vector-effect="non-scaling-stroke"
          />
        ))}
        {terrain.undefinedPath !== "" && (
          <path
            d={terrain.undefinedPath}
            fill={`url(#${id}-hatch)`}
            stroke-dasharray="3 3"
            vector-effect="non-scaling-stroke"
          />
        )}
      </g>
      {terrain.labels.map(({ x: lx, y: ly, angle, text }) => (
        <text
          key={text}
          class="contour-label"
          transform={`translate(${x + lx * sx} ${y + ly * sy}) rotate(${angle})`}
          text-anchor="middle"
          dy="0.33em"
        >
          {text}
        </text>
      ))}
      {terrain.thalweg.map((points, index) => {
        const line = readable(points.map((point) => ({ x: toX(frame, point.x), y: toY(frame, point.y) })));
        const key = `${id}-thalweg-${index}`;
        return (
          <g key={key}>
            <path
              id={key}
              class="thalweg"
              d={`M${line.map((own) => `${own.x.toFixed(1)} ${own.y.toFixed(1)}`).join("L")}`}
            />
            {index === 0 && (
              <text class="thalweg-label" dy="-5">
                <textPath href={`#${key}`} startOffset="12%">
                  thalweg
                </textPath>
              </text>
            )}
          </g>
        );
      })}
    </g>
  );
}

/** In the direction in which a text along it can be read. */
function readable(line: readonly Point[]): readonly Point[] {
  const [first, last] = [line[0] as Point, line.at(-1) as Point];
  return first.x <= last.x ? line : [...line].reverse();
}

function Axes({ frame }: { readonly frame: Frame }) {
  const { domain, left, top, size } = frame;
  const count = size > 320 ? 8 : 5;
  const [right, bottom] = [left + size, top + size];
  return (
    <g class="axes">
      <rect x={left} y={top} width={size} height={size} class="border" />
      {ticks(domain.left, domain.right, count).map((tick) => (
        <g key={tick} transform={`translate(${toX(frame, tick)} ${bottom})`}>
          <path d="M0 0v4" />
          <text y="17" text-anchor="middle">
            {formatTick(tick)}
          </text>
        </g>
      ))}
      {ticks(domain.bottom, domain.top, count).map((tick) => (
        <g key={tick} transform={`translate(${left} ${toY(frame, tick)})`}>
          <path d="M0 0h-4" />
          <text x="-8" dy="0.33em" text-anchor="end">
            {formatTick(tick)}
          </text>
        </g>
      ))}
      <text class="axis" x={right} y={bottom + 30} text-anchor="end">
        x
      </text>
      <text class="axis" x={left - 40} y={top + 10}>
        y
      </text>
    </g>
  );
}

const formatTick = (value: number): string => String(value).replace("-", "−");

/** All paths, and their labels. */
function Trails({ store, frame }: LayerProps) {
  const paths = store.paths.value;
  const { runners } = store.configuration.value;
  const id = useId();
  const trails = paths.map(({ points, summary }) =>
    points === undefined || summary === undefined ? undefined : makeTrail(points, lastStep(points, summary), frame),
  );
  const { left, top, size } = frame;
  return (
    <>
      <clipPath id={id}>
        <rect x={left} y={top} width={size} height={size} />
      </clipPath>
      <g clip-path={`url(#${id})`}>
        {trails.map((trail, index) => trail && <TrailLine key={index} trail={trail} index={index} time={store.time} />)}
      </g>
      <Labels
        trails={trails}
        titles={runners.map(({ optimizer }) => optimizerTitle(store.catalogue.value, optimizer))}
        frame={frame}
        time={store.time}
      />
    </>
  );
}

interface TrailLineProps {
  readonly trail: Trail;
  readonly index: number;
  readonly time: ReadonlySignal<number>;
}

/** One path. Its attributes follow the time without a render. */
function TrailLine({ trail, index, time }: TrailLineProps) {
  const current = useSignal(trail);
  current.value = trail;
  const line = useComputed(() => current.value.line(time.value));
  const dots = useComputed(() => current.value.dots(time.value));
  const x = useComputed(() => current.value.place(time.value).x);
  const y = useComputed(() => current.value.place(time.value).y);
  return (
    <g class="trail" data-series={index % 8}>
      <path class="halo" d={line} />
      <path class="line" d={line} />
      <path class="dots" d={dots} />
      <circle class="walker" cx={x} cy={y} r="4.5" />
    </g>
  );
}

interface LabelsProps {
  readonly trails: readonly (Trail | undefined)[];
  readonly titles: readonly string[];
  readonly frame: Frame;
  readonly time: ReadonlySignal<number>;
}

/** About the width of a letter, in pixels. */
const letterWidth = 7;

function Labels({ trails, titles, frame, time }: LabelsProps) {
  const { left, top, size } = frame;
  const box = { left: left + 2, right: left + size - 2, top: top + 2, bottom: top + size - 2 };
  const shown = trails.flatMap((trail, index) => {
    if (trail === undefined) return [];
    const { x, y } = trail.place(time.value);
    const isOutside = x < left || y < top || x > left + size || y > top + size;
    const point = { x: Math.min(Math.max(x, box.left), box.right), y: Math.min(Math.max(y, box.top), box.bottom) };
    return [{ index, point, text: `${titles[index]}${isOutside ? " ↗ off the map" : ""}` }];
  });
  const places = placeLabels(
    shown.map(({ point }) => point),
    shown.map(({ text }) => text.length * letterWidth),
    box,
  );
  return (
    <g class="path-labels">
      {shown.map(({ index, text }, order) => {
        const place = places[order];
        return (
          <text key={index} data-series={index % 8} x={place?.x} y={place?.y} dy="0.35em" text-anchor={place?.anchor}>
            {text}
          </text>
        );
      })}
    </g>
  );
}

interface StartMarkerProps extends LayerProps {
  readonly start: Point;
  readonly onMove: (point: Point) => void;
  readonly placeOf: (event: PointerEvent) => Point;
}

const keyDirections: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

/** Where the paths begin: dragged, or moved by arrow keys; with the shift key ten times as far. */
function StartMarker({ store, frame, start, onMove, placeOf }: StartMarkerProps) {
  const { domain, size } = frame;
  const isSeen = contains(domain, start);
  if (!isSeen) return null;
  const move = (event: KeyboardEvent): void => {
    const direction = keyDirections[event.key];
    if (direction === undefined) return;
    event.preventDefault();
    const pixels = event.shiftKey ? 20 : 2;
    const own = store.configuration.peek().start;
    const [dx, dy] = [(domain.right - domain.left) / size, (domain.top - domain.bottom) / size];
    const next = { x: own.x + direction[0] * pixels * dx, y: own.y + direction[1] * pixels * dy };
    if (contains(domain, next)) onMove(next);
  };
  return (
    // biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: no element or other role is a point that moves in two directions.
    <g
      class="start"
      role="application"
      aria-roledescription="movable point"
      aria-label={`Start at ${short(start.x)}, ${short(start.y)}. Arrow keys move it.`}
      // In a picture the name of this attribute has no capital.
      tabindex={0}
      transform={`translate(${toX(frame, start.x)} ${toY(frame, start.y)})`}
      onKeyDown={move}
      onPointerDown={(event) => {
        if (event.pointerType !== "mouse") event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        if (event.pointerType !== "mouse" && event.currentTarget.hasPointerCapture(event.pointerId))
          onMove(placeOf(event));
      }}
    >
      <circle class="grip" r="16" />
      <circle class="ring" r="7" />
      <circle class="core" r="2.5" />
    </g>
  );
}

interface ReadoutProps {
  readonly store: Store;
  readonly pointer: ReadonlySignal<Point | undefined>;
}

/** The function under the pointer. */
function Readout({ store, pointer }: ReadoutProps) {
  const point = pointer.value;
  const f = store.objective.value?.f;
  const lost = store.paths.value.filter(
    ({ summary }) => summary?.diverged !== undefined || summary?.left !== undefined,
  );
  return (
    <div class="readout">
      <p class="hint" aria-hidden="true">
        {point === undefined || f === undefined
          ? "A click sets the start; so do dragging it and the arrow keys."
          : `x ${point.x.toFixed(3)}   y ${point.y.toFixed(3)}   f ${short(f(point.x, point.y))}`}
      </p>
      {lost.map((path, index) => (
        <p key={index} class="lost">
          {`${optimizerTitle(store.catalogue.value, path.runner.optimizer)} ${pathStatus(path)}.`}
        </p>
      ))}
    </div>
  );
}
