import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { darkTheme, lightTheme, type RunRecord } from "@thalweg/bench";
import { useEffect, useLayoutEffect } from "preact/hooks";
import { NoGpu } from "../help/no-gpu";
import { scheme } from "../shell/theme";
import "./race.css";
import { Chart } from "./chart";
import { chartsOf } from "./chart-model";
import { Controls } from "./controls";
import { DevicePanel } from "./device-panel";
import { catalogue, gpu, startEngine } from "./engine";
import { type Lane, lanesOf, type RaceIdentity, raceOf } from "./lanes";
import { chooseSettings, followLink, linkProblems, settings } from "./link";
import { Predictions } from "./predictions";
import { RecordsPanel } from "./records-panel";
import { Legend, Results } from "./results";
import { imported, isActive, liveRun, predictions, records, request, startRace } from "./session";
import { requestOf } from "./settings";
import { SettingsPanel } from "./settings-panel";

/** The race: choices on the left, and on the right how it goes. */
export function View() {
  useEffect(() => {
    const stop = followLink();
    // The page is drawn first; then it has time for the engine.
    const idle = setTimeout(startEngine, 0);
    return () => {
      stop();
      clearTimeout(idle);
    };
  }, []);
  const isNarrow = useNarrow();
  const unfolded = useSignal(false);
  const chosen = useSignal<string | undefined>(undefined);
  const shown = useComputed(() => shownRace(chosen.value));
  const { race, races, lanes, dataset } = shown.value;
  const theme = scheme.value === "dark" ? darkTheme : lightTheme;

  const start = (event: Event) => {
    event.preventDefault();
    const entry = catalogue.value?.workloads.find(({ name }) => name === settings.value.workload);
    if (entry === undefined || isActive.value) return;
    chosen.value = undefined;
    startRace(requestOf(settings.value, entry), loseDeviceAfter());
  };

  return (
    <div class="race">
      <h1 class="visually-hidden">Race</h1>
      <form id="race-form" class="panel" onSubmit={start} aria-label="Settings of the race">
        <details
          class="fold"
          open={!isNarrow.value || unfolded.value}
          onToggle={({ currentTarget }) => {
            unfolded.value = currentTarget.open;
          }}
        >
          <summary>Settings</summary>
          <SettingsPanel settings={settings.value} onChange={chooseSettings} />
        </details>
      </form>
      <div class="stage">
        {gpu.value.kind === "missing" ? <NoGpu reason={gpu.value.reason} /> : <Controls />}
        {linkProblems.value.length > 0 && (
          <div role="alert" class="problems panel">
            {linkProblems.value.map((problem) => (
              <p key={problem}>{problem}</p>
            ))}
          </div>
        )}
        {races.length > 1 && (
          <RaceChoice
            races={races}
            shown={race}
            onChoose={(key) => {
              chosen.value = key;
            }}
          />
        )}
        <Results race={race} lanes={lanes} seeds={(request.value ?? settings.value).seeds.length} />
        <section class="panel charts" aria-label="Charts">
          <Legend lanes={lanes} />
          <div class="chart-grid">
            {chartsOf(race, lanes).map((model) => (
              <Chart key={model.id} model={model} theme={theme} />
            ))}
          </div>
        </section>
        {predictions.value !== undefined && <Predictions predictions={predictions.value} dataset={dataset} />}
        <div class="panel-row">
          <RecordsPanel />
          <DevicePanel />
        </div>
      </div>
    </div>
  );
}

/** Whether the page is as narrow as a phone, where the settings are folded so that the charts are near. */
function useNarrow(): ReadonlySignal<boolean> {
  const narrow = useSignal(false);
  useLayoutEffect(() => {
    // The width at which race.css puts everything below one another.
    const query = matchMedia("(max-width: 860px)");
    const follow = () => {
      narrow.value = query.matches;
    };
    follow();
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  return narrow;
}

interface RaceChoiceProps {
  readonly races: readonly RaceIdentity[];
  readonly shown: RaceIdentity;
  readonly onChoose: (key: string) => void;
}

/** Which race is shown, where opened records belong to several. */
function RaceChoice({ races, shown, onChoose }: RaceChoiceProps) {
  return (
    <div class="field inline race-choice">
      <label for="race-choice">Shown</label>
      <select id="race-choice" value={shown.key} onChange={({ currentTarget }) => onChoose(currentTarget.value)}>
        {races.map(({ key, workload, target }) => (
          <option key={key} value={key}>
            {workload}
            {target === null ? "" : `, ${target.phase} ${target.metric} ${target.value}`}
          </option>
        ))}
      </select>
    </div>
  );
}

interface ShownRace {
  readonly race: RaceIdentity;
  readonly races: readonly RaceIdentity[];
  readonly lanes: readonly Lane[];
  readonly dataset: string;
}

/** The race that was chosen, or else that of this page; before it has begun, that of opened records, or what is to come. */
function shownRace(chosen: string | undefined): ShownRace {
  const own = records.value.map(({ record }) => record);
  const live = liveRun.value;
  const ownRaces = [...own.map(identityOf), ...(live === undefined ? [] : [raceOf(live.configuration)])];
  const races = unique([...ownRaces, ...imported.value.map(identityOf)]);
  const preview = previewRace();
  const current = request.value === undefined ? races.at(-1) : ownRaces[0];
  const race = races.find(({ key }) => key === chosen) ?? current ?? preview;
  const isOwn = race === preview || ownRaces.some(({ key }) => key === race.key);
  const entry = catalogue.value?.workloads.find(({ name }) => name === race.workload);
  const planned = request.value ?? (entry === undefined ? undefined : requestOf(settings.value, entry));
  const lanes = lanesOf({
    race,
    request: planned,
    isOwn,
    own,
    live,
    imported: imported.value,
    catalogue: catalogue.value,
  });
  return { race, races, lanes, dataset: entry?.dataset ?? "" };
}

const identityOf = ({ header }: RunRecord): RaceIdentity => raceOf(header.configuration);

function unique(races: readonly RaceIdentity[]): readonly RaceIdentity[] {
  return [...new Map(races.map((race) => [race.key, race])).values()];
}

/** The race that the settings describe, as far as it is known before its data are there. */
function previewRace(): RaceIdentity {
  const { workload, target } = settings.value;
  const metric = catalogue.value?.workloads.find(({ name }) => name === workload)?.metric ?? "accuracy";
  return { key: "", workload, target: target === null ? null : { phase: "test", metric, value: target } };
}

/** `?lose-device=50` in the address destroys the GPU device after 50 steps: a way to try what happens then. */
function loseDeviceAfter(): number | undefined {
  const text = new URLSearchParams(location.search).get("lose-device");
  const steps = Number(text);
  return text !== null && Number.isInteger(steps) && steps >= 0 ? steps : undefined;
}
