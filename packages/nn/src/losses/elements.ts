import { formatShape, ShapeError, sameShape, type Tensor } from "@thalweg/tensor";

export interface ElementOptions {
  /**
   * How the elements of one example, that is all axes but the first, become one loss:
   * - `"mean"`: `[N, …]` to `[N]`; the mean of the result is then PyTorch's `reduction="mean"`.
   * - `"sum"`: `[N, …]` to `[N]`; the sum of the result is PyTorch's `reduction="sum"`.
   * - `"none"`: the elements as they are.
   *
   * Default `"mean"`.
   */
  readonly elements?: "mean" | "sum" | "none";
}

/** Joins the elements of each example. */
export function joinElements(losses: Tensor, { elements = "mean" }: ElementOptions): Tensor {
  if (elements === "none" || losses.rank <= 1) return losses;
  return elements === "mean" ? losses.mean({ axis: "rest" }) : losses.sum({ axis: "rest" });
}

/** Throws unless predictions and targets have one shape; nothing broadcasts, because that is almost always a mistake. */
export function checkTargets(loss: string, predictions: Tensor, targets: Tensor): void {
  if (sameShape(predictions.shape, targets.shape)) return;
  throw new ShapeError(
    `${loss}: predictions ${formatShape(predictions.shape)} and targets ${formatShape(targets.shape)} differ. ` +
      "Give one target per prediction; reshape or expand one of them.",
  );
}
