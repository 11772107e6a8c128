import type { Expression } from "../formula/expression";
import type { OptimizerDescription, Runner } from "../optimizers";
import type { Point } from "../terrain/domain";
import type { Noise } from "./program";

/** What all paths of a run have in common. */
export interface Course {
  readonly formula: Expression;
  readonly start: Point;
  /** A multiple of 100. */
  readonly steps: number;
  readonly noise: Noise;
}

/** What the page asks the worker for. A request of a kind makes earlier ones of its kind stale. */
export type PathRequest =
  | { readonly kind: "run"; readonly id: number; readonly course: Course; readonly runners: readonly Runner[] }
  | {
      readonly kind: "sweep";
      readonly id: number;
      readonly course: Course;
      readonly runners: readonly Runner[];
      /** Learning rates, each for a path of its own. */
      readonly rates: readonly number[];
    }
  /** Destroys the device, to try what happens then. */
  | { readonly kind: "lose" };

/** What the worker tells the page. */
export type PathReply =
  | { readonly kind: "catalogue"; readonly optimizers: readonly OptimizerDescription[] }
  /** There is a device, and requests are answered. */
  | { readonly kind: "ready"; readonly adapter: string }
  /** There is no device. */
  | { readonly kind: "unavailable"; readonly message: string }
  | {
      readonly kind: "path";
      readonly id: number;
      /** Of the runner in its request. */
      readonly index: number;
      /** x, y, x, y, … from the start on, which is included. */
      readonly points: Float32Array<ArrayBuffer>;
      readonly isComplete: boolean;
    }
  | { readonly kind: "failure"; readonly id: number; readonly index: number; readonly message: string }
  /** The last point of the path for each rate. */
  | { readonly kind: "sweep"; readonly id: number; readonly index: number; readonly ends: Float32Array }
  /** The device was lost: this worker can do no more. */
  | { readonly kind: "lost"; readonly message: string };
