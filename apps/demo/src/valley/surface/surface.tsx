import { type Signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { lastStep } from "../paths/summary";
import type { Store } from "../store";
import { contains, type Point } from "../terrain/domain";
import { useWidth } from "../use-width";
import { axisTexts } from "./axis-texts";
import { approached, type Camera, initialCamera, project, projectionOf, turned } from "./camera";
import { makeBlock, onGround, pathPoints, type Site, segmentsOf } from "./geometry";
import { type Ball, type Picture, type SurfaceLine, SurfaceRenderer } from "./renderer";
import { surfaceSvg } from "./surface-svg";

interface SurfaceProps {
  readonly store: Store;
  readonly camera: Signal<Camera>;
  /** Given what makes files of the picture; undefined while there is none. */
  readonly onReady: (exports: SurfaceExports | undefined) => void;
}

export interface SurfaceExports {
  /** Draws, and hands out the canvas, which is empty after the current task. */
  draw(): HTMLCanvasElement;
  svg(): string;
}

/** How often a lost device is replaced. */
const mostRestarts = 3;

/** Height over width. */
const ratio = 0.98;

/** The ground in three dimensions, drawn by the GPU when something changed. */
export function Surface({ store, camera, onReady }: SurfaceProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(box);
  const size = useSignal({ width: 0, height: 0 });
  size.value = size.peek().width === width ? size.peek() : { width, height: Math.round(width * ratio) };
  const renderer = useSignal<SurfaceRenderer | undefined>(undefined);
  const problem = useSignal<string | undefined>(undefined);
  const scene = useScene(store);
  const picture = useComputed<Picture | undefined>(() => {
    const { width: w, height: h } = size.value;
    if (scene.value === undefined || w === 0) return undefined;
    return { ...scene.value(store.time.value), projection: projectionOf(camera.value, w / h) };
  });

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    let isGone = false;
    let restarts = 0;
    const open = async (): Promise<void> => {
      try {
        const opened = await SurfaceRenderer.open(element);
        if (isGone) return opened.dispose();
        renderer.value = opened;
        problem.value = undefined;
        const { message, reason } = await opened.device.lost;
        if (isGone || reason === "destroyed") return;
        renderer.value = undefined;
        problem.value = `The GPU was lost (${message}).`;
        restarts += 1;
        if (restarts <= mostRestarts) await open();
      } catch (error) {
        problem.value = error instanceof Error ? error.message : String(error);
      }
    };
    void open();
    return () => {
      isGone = true;
      renderer.peek()?.dispose();
    };
  }, []);

  useSignalEffect(() => {
    const [own, shown] = [renderer.value, picture.value];
    const { width: w, height: h } = size.value;
    if (own === undefined || shown === undefined) return onReady(undefined);
    const draw = (): HTMLCanvasElement => {
      const scale = Math.min(devicePixelRatio, 2);
      own.draw(shown, Math.round(w * scale), Math.round(h * scale), scale);
      return canvas.current as HTMLCanvasElement;
    };
    onReady({
      draw,
      svg() {
        const terrain = store.terrain.peek();
        const texts = terrain === undefined ? [] : axisTexts(terrain.domain, shown.projection.eye);
        return terrain === undefined ? "" : surfaceSvg(shown, terrain.mesh, texts, w, h);
      },
    });
    // However much changes within a frame, it is drawn once.
    const frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  });

  const handlers = useMemo(() => orbit(camera), []);
  return (
    <div class="surface" ref={box}>
      {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: the keys that turn it must reach it. */}
      <canvas
        ref={canvas}
        role="application"
        aria-roledescription="surface in three dimensions"
        aria-label="The function as a surface, with the paths of the optimizers. Arrow keys turn it, plus and minus change its size, Home resets it."
        tabIndex={0}
        style={{ height: `${Math.round(width * ratio)}px` }}
        {...handlers}
      />
      <AxisLabels store={store} picture={picture.value} width={width} height={Math.round(width * ratio)} />
      {problem.value !== undefined && (
        <p class="no-surface" role="note">
          {problem.value} The surface needs WebGPU: <a href="#help">which browsers have it</a>.
        </p>
      )}
    </div>
  );
}

/** What is drawn at any time, but for the camera. */
function useScene(store: Store) {
  const block = useComputed(() => store.terrain.value && makeBlock(store.terrain.value.mesh));
  const site = useComputed<Site | undefined>(() => {
    const [terrain, f] = [store.terrain.value, store.objective.value?.f];
    return terrain && f && { domain: terrain.domain, scale: terrain.scale, f };
  });
  const lines = useComputed(() => {
    const own = site.value;
    if (own === undefined) return [];
    return store.paths.value.map(({ points, summary }) =>
      points && summary ? segmentsOf(pathPoints(points, lastStep(points, summary)), own) : undefined,
    );
  });
  const thalweg = useComputed(() => {
    const own = site.value;
    return own === undefined ? [] : (store.terrain.value?.thalweg ?? []).map((line) => segmentsOf(line, own));
  });
  return useComputed(() => {
    const [terrain, own, ground] = [store.terrain.value, site.value, block.value];
    if (terrain === undefined || own === undefined || ground === undefined) return undefined;
    const palette = store.palette.value;
    const levels = terrain.contours.map(({ height }) => height);
    const fixed: SurfaceLine[] = thalweg.value.map((segments) => ({
      segments,
      color: palette.water,
      width: 2.2,
      time: Number.POSITIVE_INFINITY,
    }));
    const ball = (point: Point, radius: number, color: Ball["color"]): readonly Ball[] =>
      contains(own.domain, point) ? [{ at: onGround(own, point), radius, color }] : [];
    const still = [
      ...terrain.minima.flatMap((point) => ball(point, 4, palette.text)),
      ...ball(store.configuration.value.start, 5, palette.background),
    ];
    const paths = store.paths.value;
    return (time: number): Omit<Picture, "projection"> => ({
      block: ground,
      levels,
      palette,
      lines: [
        ...fixed,
        ...lines.value.flatMap((segments, index) =>
          segments === undefined
            ? []
            : [{ segments, color: palette.series[index % palette.series.length] as Ball["color"], width: 3, time }],
        ),
      ],
      balls: [
        ...still,
        ...paths.flatMap(({ points, summary }, index) => {
          if (points === undefined || summary === undefined) return [];
          const at = placeAt(points, Math.min(time, lastStep(points, summary)));
          return ball(at, 6, palette.series[index % palette.series.length] as Ball["color"]);
        }),
      ],
    });
  });
}

function placeAt(points: Float32Array, time: number): Point {
  const step = Math.floor(time);
  const share = time - step;
  const at = (index: number): number => points[index] as number;
  const between = (axis: number): number => {
    const from = at(2 * step + axis);
    return share === 0 ? from : from + (at(2 * (step + 1) + axis) - from) * share;
  };
  return { x: between(0), y: between(1) };
}

/** Turns and zooms by mouse, fingers and keys. One finger turns around the vertical only: it also scrolls the page. */
function orbit(camera: Signal<Camera>) {
  const pointers = new Map<number, Point>();
  const perPixel = 0.008;
  const spread = (): number => {
    const [a, b] = [...pointers.values()] as [Point, Point];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  return {
    onPointerDown(event: PointerEvent & { currentTarget: HTMLCanvasElement }) {
      event.currentTarget.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    },
    onPointerMove(event: PointerEvent) {
      const before = pointers.get(event.pointerId);
      if (before === undefined) return;
      const apart = pointers.size === 2 ? spread() : 0;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pointers.size === 2) {
        camera.value = approached(camera.peek(), apart / Math.max(spread(), 1));
        return;
      }
      const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
      camera.value = turned(camera.peek(), -dx * perPixel, event.pointerType === "mouse" ? dy * perPixel : 0);
    },
    onPointerUp(event: PointerEvent) {
      pointers.delete(event.pointerId);
    },
    onPointerCancel(event: PointerEvent) {
      pointers.delete(event.pointerId);
    },
    onKeyDown(event: KeyboardEvent) {
      const next = keyed(camera.peek(), event.key);
      if (next === undefined) return;
      event.preventDefault();
      camera.value = next;
    },
  };
}

function keyed(camera: Camera, key: string): Camera | undefined {
  const angle = 0.08;
  switch (key) {
    case "ArrowLeft":
      return turned(camera, -angle, 0);
    case "ArrowRight":
      return turned(camera, angle, 0);
    case "ArrowUp":
      return turned(camera, 0, angle);
    case "ArrowDown":
      return turned(camera, 0, -angle);
    case "+":
    case "=":
      return approached(camera, 0.9);
    case "-":
      return approached(camera, 1 / 0.9);
    case "Home":
      return initialCamera;
    default:
      return undefined;
  }
}

interface AxisLabelsProps {
  readonly store: Store;
  readonly picture: Picture | undefined;
  readonly width: number;
  readonly height: number;
}

/** Ticks along the two lower edges that are nearer to the camera. */
function AxisLabels({ store, picture, width, height }: AxisLabelsProps) {
  const domain = store.terrain.value?.domain;
  if (picture === undefined || domain === undefined) return null;
  return (
    <svg class="surface-axes" width={width} height={height} aria-hidden="true">
      {axisTexts(domain, picture.projection.eye).map(({ at, text, isName }) => {
        const { x, y } = project(picture.projection, at, width, height);
        return (
          <text key={`${at}`} class={isName ? "axis" : undefined} x={x} y={y} dy="0.35em" text-anchor="middle">
            {text}
          </text>
        );
      })}
    </svg>
  );
}
