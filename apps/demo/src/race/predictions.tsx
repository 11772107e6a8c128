import { useEffect, useRef } from "preact/hooks";
import type { PredictionsUpdate } from "../worker/protocol";

/** Names of the classes, where they are no digits. */
const classNames: Readonly<Record<string, readonly string[]>> = {
  fmnist: ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"],
};

/** Test images, each with what the model takes it for. A mistake has a cross and the right answer. */
export function Predictions({
  predictions,
  dataset,
}: {
  readonly predictions: PredictionsUpdate;
  readonly dataset: string;
}) {
  const { configuration, step, labels, predicted, confidence, images, shape } = predictions;
  const nameOf = (label: number) => classNames[dataset]?.[label] ?? String(label);
  const right = labels.filter((label, index) => predicted[index] === label).length;
  const pixels = shape[0] * shape[1];
  return (
    <section class="panel predictions" aria-labelledby="predictions-title">
      <h2 id="predictions-title">What the model sees</h2>
      <p class="muted">
        {configuration.optimizer}, seed {configuration.seed}, after {step} steps: {right} of {labels.length} test images
        right
      </p>
      <ul>
        {labels.map((label, index) => {
          const guess = predicted[index] ?? -1;
          const isRight = guess === label;
          return (
            <li key={index} class={isRight ? "right" : "wrong"}>
              <Picture pixels={images.subarray(index * pixels, (index + 1) * pixels)} shape={shape} />
              <span class="mark-of" aria-hidden="true">
                {isRight ? "✓" : "✗"}
              </span>
              <span class="guess" title={`${Math.round(100 * (confidence[index] ?? 0))} % sure`}>
                {nameOf(guess)}
                {!isRight && <small>is {nameOf(label)}</small>}
              </span>
              <span class="visually-hidden">{isRight ? ", right" : ", wrong"}</span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

interface PictureProps {
  readonly pixels: Uint8Array;
  readonly shape: PredictionsUpdate["shape"];
}

/** One grey image. */
function Picture({ pixels, shape: [rows, columns] }: PictureProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawn = useRef<Uint8Array | undefined>(undefined);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (context == null || equalBytes(drawn.current, pixels)) return;
    drawn.current = pixels;
    const picture = context.createImageData(columns, rows);
    pixels.forEach((grey, index) => picture.data.set([grey, grey, grey, 255], 4 * index));
    context.putImageData(picture, 0, 0);
  }, [pixels, rows, columns]);
  return <canvas ref={canvas} width={columns} height={rows} />;
}

function equalBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.length === b.length && a.every((value, index) => value === b[index]);
}
