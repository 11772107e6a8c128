import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { download, pngBlob, svgBlob } from "../race/download";
import "./valley.css";
import { ProblemControls, RunnerControls } from "./controls";
import { zoomedAt } from "./map/frame";
import { ContourMap } from "./map/map";
import { documentOf } from "./map/map-svg";
import { formatColor } from "./palette";
import { problemOf } from "./problems";
import { Store } from "./store";
import { initialCamera } from "./surface/camera";
import { Surface, type SurfaceExports } from "./surface/surface";
import { ResultTable } from "./table";
import { Timeline } from "./timeline";

/** Functions of two numbers as a landscape, and the optimizers' paths through it. */
export function View() {
  const store = useMemo(() => new Store(), []);
  useEffect(() => () => store.dispose(), []);
  useEffect(() => {
    // Once, for who arrives; not for whom motion disturbs.
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    store.time.value = 0;
    store.isPlaying.value = true;
  }, []);
  useSignalEffect(() => {
    // `?lose-device` in the address: once there is a path.
    const isWanted = new URLSearchParams(location.search).has("lose-device");
    const { value: engine } = store.engine;
    const hasPath = store.paths.value.some(({ isComplete }) => isComplete);
    if (isWanted && hasPath && engine.state === "ready" && engine.losses === 0) store.loseDevice();
  });
  const camera = useSignal(initialCamera);
  const picture = useRef<SVGSVGElement | null>(null);
  const surface = useRef<SurfaceExports | undefined>(undefined);
  const hasSurface = useSignal(false);
  const zoom = (factor: number): void => {
    const { domain } = store.configuration.peek();
    const middle = { x: (domain.left + domain.right) / 2, y: (domain.bottom + domain.top) / 2 };
    store.change({ domain: zoomedAt(domain, middle, factor) });
  };
  const engine = store.engine.value;
  return (
    <div class="valley">
      <header class="intro">
        <h1>Valley</h1>
        <p class="muted">
          A <em>thalweg</em> is the line of lowest ground along a valley, the way that water takes. Optimizers look for
          it too: every step is a slope times a learning rate.
        </p>
      </header>
      <div class="head">
        <ProblemControls store={store} />
        {engine.state === "unavailable" && (
          <p class="panel note" role="note">
            No paths: {engine.message} They are computed by WebGPU: <a href="#help">which browsers have it</a>.
          </p>
        )}
        {(engine.state === "lost" || (engine.state === "ready" && engine.losses > 0)) && (
          <p class="panel note" role="status">
            {engine.state === "lost" ? "The GPU was lost." : "The GPU was lost; the paths were computed anew."}
          </p>
        )}
      </div>
      <figure class="panel map-figure">
        <div class="figure-head">
          <h2>Map</h2>
          <div class="tools">
            <button type="button" class="quiet" aria-label="Zoom in" onClick={() => zoom(0.7)}>
              +
            </button>
            <button type="button" class="quiet" aria-label="Zoom out" onClick={() => zoom(1 / 0.7)}>
              −
            </button>
            <button
              type="button"
              class="quiet"
              onClick={() => store.change({ domain: problemOf(store.configuration.peek().problem).domain })}
            >
              Reset
            </button>
            <SaveButtons
              what="map"
              isReady={store.terrain.value !== undefined}
              svg={() => mapDocument(store, picture.current as SVGSVGElement)}
              png={() => pngBlob(mapDocument(store, picture.current as SVGSVGElement))}
            />
          </div>
        </div>
        <ContourMap
          store={store}
          onPicture={(element) => {
            picture.current = element;
          }}
        />
      </figure>
      <figure class="panel surface-figure">
        <div class="figure-head">
          <h2>Surface</h2>
          <div class="tools">
            <button
              type="button"
              class="quiet"
              onClick={() => {
                camera.value = initialCamera;
              }}
            >
              Reset
            </button>
            <SaveButtons
              what="surface"
              isReady={hasSurface.value}
              svg={() => surface.current?.svg() ?? ""}
              png={() => canvasBlob(surface.current?.draw())}
            />
          </div>
        </div>
        <Surface
          store={store}
          camera={camera}
          onReady={(exports) => {
            // It changes with every frame that is drawn; whether there is one does not.
            surface.current = exports;
            hasSurface.value = exports !== undefined;
          }}
        />
      </figure>
      <Timeline store={store} />
      <ResultTable store={store} />
      <RunnerControls store={store} />
    </div>
  );
}

function mapDocument(store: Store, picture: SVGSVGElement): string {
  return documentOf(picture, { background: formatColor(store.palette.peek().background), leftOut: ".grip" });
}

/** The canvas as a file; it was drawn in this task. */
function canvasBlob(canvas: HTMLCanvasElement | undefined): Promise<Blob> {
  return new Promise((resolve, reject) => {
    if (canvas === undefined) return reject(new Error("There is no surface to save."));
    canvas.toBlob((blob) =>
      blob === null ? reject(new Error("This browser could not write the picture.")) : resolve(blob),
    );
  });
}

interface SaveButtonsProps {
  readonly what: string;
  readonly isReady: boolean;
  readonly svg: () => string;
  readonly png: () => Promise<Blob>;
}

function SaveButtons({ what, isReady, svg, png }: SaveButtonsProps) {
  return (
    <>
      <button
        type="button"
        class="quiet"
        disabled={!isReady}
        onClick={() => download(`thalweg-${what}.svg`, svgBlob(svg()))}
      >
        SVG<span class="visually-hidden">{` of the ${what}`}</span>
      </button>
      <button
        type="button"
        class="quiet"
        disabled={!isReady}
        onClick={async () => download(`thalweg-${what}.png`, await png())}
      >
        PNG<span class="visually-hidden">{` of the ${what}`}</span>
      </button>
    </>
  );
}
