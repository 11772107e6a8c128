import { useSignal } from "@preact/signals";
import { catalogue } from "./engine";
import {
  isActive,
  liveRun,
  loading,
  notice,
  pauseRace,
  phase,
  records,
  request,
  resetRace,
  resumeRace,
  stopRace,
} from "./session";

/** Starts, pauses and ends a race, and says how it stands. */
export function Controls() {
  const total = (request.value?.algorithms.length ?? 0) * (request.value?.seeds.length ?? 0);
  const done = records.value.length;
  const active = isActive.value;
  const hasResults = phase.value !== "idle";
  return (
    <section class="panel controls" aria-label="Controls of the race">
      <div class="buttons">
        <MainButton />
        <button type="button" disabled={!active} onClick={stopRace}>
          Stop
        </button>
        <button type="button" disabled={active || !hasResults} onClick={resetRace}>
          Reset
        </button>
        <CopyLink />
      </div>
      <p class="state" role="status">
        {describeState(done, total)}
      </p>
      {active && (
        <progress
          aria-label="Runs done"
          value={(done + (liveRun.value?.fraction ?? loading.value?.fraction ?? 0)) / Math.max(1, total)}
        />
      )}
      {notice.value !== undefined && (
        <p role={notice.value.kind === "error" ? "alert" : "status"} class={`notice ${notice.value.kind}`}>
          {notice.value.text}
        </p>
      )}
    </section>
  );
}

/** One button for starting, pausing and going on: whoever has pressed it by keyboard keeps it under the fingers. */
function MainButton() {
  const active = isActive.value;
  const paused = phase.value === "paused";
  const label = active ? (paused ? "Go on" : "Pause") : phase.value === "idle" ? "Start the race" : "Start again";
  return (
    <button
      type={active ? "button" : "submit"}
      form="race-form"
      class="primary"
      disabled={catalogue.value === undefined}
      onClick={(event) => {
        if (!active) return;
        // The same click must not send the form once the button is one for starting again.
        event.preventDefault();
        if (paused) resumeRace();
        else pauseRace();
      }}
    >
      {label}
    </button>
  );
}

/** Changes seldom enough to be read out. */
function describeState(done: number, total: number): string {
  const file = loading.value;
  switch (phase.value) {
    case "idle":
      return catalogue.value === undefined
        ? "Loading the engine …"
        : "Trains in this tab, on your GPU. Nothing leaves your device.";
    case "starting":
      return file === undefined ? "Getting ready …" : `Fetching ${file.file} …`;
    case "running":
    case "paused": {
      const run = liveRun.value?.configuration;
      const state = phase.value === "paused" ? "Paused" : "Racing";
      return run === undefined
        ? `${state}: ${done} of ${total} runs done`
        : `${state}: run ${Math.min(done + 1, total)} of ${total}, ${run.optimizer} with seed ${run.seed}`;
    }
    case "finished":
      return request.value?.target === undefined
        ? `Finished: ${done} of ${total} runs have a record.`
        : `Finished: ${reachedOf()} of ${total} runs reached the target.`;
    case "stopped":
      return `Stopped: ${done} of ${total} runs have a record.`;
    case "failed":
      return `The race could not go on: ${done} of ${total} runs have a record.`;
  }
}

function reachedOf(): number {
  return records.value.filter(({ record }) => record.end?.status === "reached").length;
}

/** The address has all choices; this puts it into the clipboard. */
function CopyLink() {
  const said = useSignal("");
  return (
    <>
      <button
        type="button"
        onClick={async () => {
          try {
            await navigator.clipboard.writeText(location.href);
            said.value = "Copied";
          } catch {
            said.value = "Copy the page’s address: it has all choices.";
          }
          setTimeout(() => {
            said.value = "";
          }, 3000);
        }}
      >
        Copy link
      </button>
      <span role="status" class="muted">
        {said.value}
      </span>
    </>
  );
}
