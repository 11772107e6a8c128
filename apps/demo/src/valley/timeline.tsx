import { useId } from "preact/hooks";
import type { Store } from "./store";

const speeds = [15, 60, 240] as const;

/** Plays the paths step by step. */
export function Timeline({ store }: { readonly store: Store }) {
  const id = useId();
  const { steps } = store.configuration.value;
  const isPlaying = store.isPlaying.value;
  const toggle = (): void => {
    // From the end it begins anew.
    if (!isPlaying && store.time.peek() >= steps) store.time.value = 0;
    store.isPlaying.value = !isPlaying;
  };
  return (
    <section class="panel timeline" aria-label="Time">
      <button type="button" class="primary" onClick={toggle}>
        {isPlaying ? "Pause" : "Play"}
      </button>
      <label class="visually-hidden" for={id}>
        Step
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={steps}
        step={1}
        value={Math.floor(store.time.value)}
        onInput={({ currentTarget }) => {
          store.isPlaying.value = false;
          store.time.value = Number(currentTarget.value);
        }}
      />
      <output class="step" for={id}>{`step ${Math.floor(store.time.value)} of ${steps}`}</output>
      <fieldset class="segmented">
        <legend class="visually-hidden">Speed</legend>
        {speeds.map((speed) => (
          <label key={speed}>
            <input
              type="radio"
              name={`${id}-speed`}
              checked={store.speed.value === speed}
              onChange={() => {
                store.speed.value = speed;
              }}
            />
            <span>{`${speed}/s`}</span>
          </label>
        ))}
      </fieldset>
    </section>
  );
}
