import type { WorkloadEntry } from "../worker/protocol";
import { catalogue } from "./engine";
import { EntrantList } from "./entrants";
import { complainCount, complainPositive, Field, FieldsLocked, readNumber, readOptional } from "./field";
import { isActive } from "./session";
import { defaultSettings, parseSeeds, type RaceSettings } from "./settings";

/** What a {@link SettingsPanel} shows and changes. */
export interface SettingsPanelProps {
  readonly settings: RaceSettings;
  readonly onChange: (settings: RaceSettings) => void;
}

/** All choices of a race. They are locked while it runs. */
export function SettingsPanel({ settings, onChange }: SettingsPanelProps) {
  const workloads = catalogue.value?.workloads ?? [];
  const entry = workloads.find(({ name }) => name === settings.workload);
  const set = (part: Partial<RaceSettings>) => onChange({ ...settings, ...part });
  return (
    <FieldsLocked.Provider value={isActive.value}>
      <div class="settings">
        <div class="field">
          <label for="workload">Workload</label>
          <select
            id="workload"
            value={settings.workload}
            disabled={isActive.value || entry === undefined}
            aria-describedby="workload-note"
            onChange={({ currentTarget }) => {
              const next = workloads.find(({ name }) => name === currentTarget.value);
              onChange(defaultSettings(currentTarget.value, next));
            }}
          >
            {entry === undefined && <option value={settings.workload}>{settings.workload}</option>}
            {workloads.map(({ name, title }) => (
              <option key={name} value={name}>
                {name}: {title}
              </option>
            ))}
          </select>
          <p id="workload-note" class="hint">
            {entry === undefined ? "Loading what there is to choose …" : describeWorkload(entry)}
          </p>
        </div>

        <div class="field-row">
          <TargetField settings={settings} metric={entry?.metric ?? "accuracy"} set={set} />
          <Field
            label="Budget"
            unit="epochs"
            text={String(settings.epochs)}
            read={(text) => readNumber(text, complainPositive)}
            onValue={(epochs) => set({ epochs })}
          />
        </div>
        <Field
          label="Seeds"
          numeric={false}
          text={settings.seeds.join(", ")}
          read={(text) => {
            const seeds = parseSeeds(text);
            return typeof seeds === "string" ? { wrong: seeds } : { value: seeds };
          }}
          onValue={(seeds) => set({ seeds })}
          hint="One run of every optimizer for each."
        />

        <EntrantList
          entrants={settings.entrants}
          optimizers={catalogue.value?.optimizers}
          onChange={(entrants) => set({ entrants })}
        />

        <details class="more">
          <summary>More settings</summary>
          <div class="field-row">
            <Field
              label="Examples a step"
              text={settings.batchSize === null ? "" : String(settings.batchSize)}
              placeholder={String(entry?.defaults.batchSize ?? "")}
              read={(text) => readOptional(text, complainCount)}
              onValue={(batchSize) => set({ batchSize })}
            />
            <Field
              label="Steps between evaluations"
              text={settings.every === null ? "" : String(settings.every)}
              placeholder="one epoch"
              read={(text) => readOptional(text, complainCount)}
              onValue={(every) => set({ every })}
            />
          </div>
          <Field
            label="Time limit of a run"
            unit="s"
            text={settings.seconds === null ? "" : String(settings.seconds)}
            placeholder="none"
            read={(text) => readOptional(text, complainPositive)}
            onValue={(seconds) => set({ seconds })}
            hint="Seconds of training, beside the budget in epochs."
          />
        </details>
      </div>
    </FieldsLocked.Provider>
  );
}

interface TargetFieldProps {
  readonly settings: RaceSettings;
  readonly metric: WorkloadEntry["metric"];
  readonly set: (part: Partial<RaceSettings>) => void;
}

function TargetField({ settings: { target }, metric, set }: TargetFieldProps) {
  if (metric === "loss") {
    return (
      <Field
        label="Target loss"
        text={target === null ? "" : String(target)}
        placeholder="none"
        read={(text) => readOptional(text, complainPositive)}
        onValue={(value) => set({ target: value })}
      />
    );
  }
  return (
    <Field
      label="Target accuracy"
      unit="%"
      text={target === null ? "" : String(Number((100 * target).toPrecision(8)))}
      placeholder="none"
      read={(text) =>
        readOptional(text, (value) => (value > 0 && value <= 100 ? undefined : "Give a percentage, up to 100."))
      }
      onValue={(percent) => set({ target: percent === null ? null : Number((percent / 100).toPrecision(8)) })}
    />
  );
}

function describeWorkload({ datasetTitle, downloadBytes, parameters, defaults }: WorkloadEntry): string {
  const size = downloadBytes === 0 ? "" : ` (${(downloadBytes / 1e6).toFixed(0)} MB to fetch)`;
  return `${datasetTitle}${size}. ${parameters.toLocaleString("en")} parameters, ${defaults.batchSize} examples a step.`;
}
