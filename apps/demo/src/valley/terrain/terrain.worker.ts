import type { Expression } from "../formula/expression";
import type { Domain } from "./domain";
import type { ScaleKind } from "./height-scale";
import { computeTerrain, type Terrain } from "./terrain";

/** What the page asks for. */
export interface TerrainRequest {
  readonly id: number;
  readonly formula: Expression;
  readonly domain: Domain;
  readonly scale: ScaleKind | undefined;
}

/** What the page gets, for the newest request; those that were overtaken have no answer. */
export interface TerrainReply {
  readonly id: number;
  readonly terrain: Terrain;
}

let newest = 0;

addEventListener("message", ({ data }: MessageEvent<TerrainRequest>) => {
  const { id, formula, domain, scale } = data;
  newest = id;
  // After the messages that wait: one of them may have made this one stale.
  setTimeout(() => {
    if (newest !== id) return;
    const reply: TerrainReply = { id, terrain: computeTerrain(formula, domain, scale) };
    postMessage(reply);
  });
});
