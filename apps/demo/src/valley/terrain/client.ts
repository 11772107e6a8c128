import { type ReadonlySignal, signal } from "@preact/signals";
import type { Expression } from "../formula/expression";
import type { Domain } from "./domain";
import type { ScaleKind } from "./height-scale";
import type { Terrain } from "./terrain";
import type { TerrainReply, TerrainRequest } from "./terrain.worker";

/** The page's side of the worker that computes terrain. */
export class TerrainClient {
  /** The newest terrain; it stays until that of the next request is there. */
  readonly terrain: ReadonlySignal<Terrain | undefined>;
  readonly #terrain = signal<Terrain | undefined>(undefined);
  readonly #worker = new Worker(new URL("./terrain.worker.ts", import.meta.url), { type: "module" });
  #request = 0;
  #asked = "";

  constructor() {
    this.terrain = this.#terrain;
    this.#worker.addEventListener("message", ({ data }: MessageEvent<TerrainReply>) => {
      if (data.id === this.#request) this.#terrain.value = data.terrain;
    });
  }

  /** Asks for the terrain of a formula, unless it is what was asked for last. */
  ask(formula: Expression, domain: Domain, scale: ScaleKind | undefined): void {
    const asked = JSON.stringify([formula, domain, scale]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    this.#request += 1;
    const request: TerrainRequest = { id: this.#request, formula, domain, scale };
    this.#worker.postMessage(request);
  }

  dispose(): void {
    this.#worker.terminate();
  }
}
