import { useSignal } from "@preact/signals";
import type { HyperparameterValue } from "@thalweg/bench";
import type { HyperparameterSpec } from "@thalweg/optim";
import type { RefObject } from "preact";
import { useContext, useId, useRef } from "preact/hooks";
import type { OptimizerEntry } from "../worker/protocol";
import { Field, FieldsLocked } from "./field";
import { complaint, spokenName } from "./hyperparameters";
import type { Entrant } from "./settings";

interface EntrantListProps {
  readonly entrants: readonly Entrant[];
  readonly optimizers: readonly OptimizerEntry[] | undefined;
  readonly onChange: (entrants: readonly Entrant[]) => void;
}

/** Who races. */
export function EntrantList({ entrants, optimizers, onChange }: EntrantListProps) {
  const locked = useContext(FieldsLocked);
  const picker = useRef<HTMLElement>(null);
  return (
    <section class="entrants" aria-labelledby="entrants-title">
      <h2 id="entrants-title">Optimizers</h2>
      <ul>
        {entrants.map((entrant, index) => (
          // Two entrants may be equal for a while, right after one was copied.
          <li key={`${index} ${entrant.optimizer}`} class="entrant" data-series={index % 8}>
            <EntrantCard
              entrant={entrant}
              entry={optimizers?.find(({ name }) => name === entrant.optimizer)}
              canRemove={entrants.length > 1}
              onChange={(next) => onChange(entrants.with(index, next))}
              onCopy={() => onChange(entrants.toSpliced(index + 1, 0, entrant))}
              onRemove={() => {
                onChange(entrants.toSpliced(index, 1));
                // The button that had the focus is gone with its entrant.
                picker.current?.focus();
              }}
            />
          </li>
        ))}
      </ul>
      {optimizers !== undefined && !locked && (
        <OptimizerPicker
          summary={picker}
          optimizers={optimizers}
          onPick={(optimizer) => onChange([...entrants, { optimizer, hyperparameters: {} }])}
        />
      )}
    </section>
  );
}

interface EntrantCardProps {
  readonly entrant: Entrant;
  readonly entry: OptimizerEntry | undefined;
  readonly canRemove: boolean;
  readonly onChange: (entrant: Entrant) => void;
  readonly onCopy: () => void;
  readonly onRemove: () => void;
}

function EntrantCard({ entrant, entry, canRemove, onChange, onCopy, onRemove }: EntrantCardProps) {
  const locked = useContext(FieldsLocked);
  const { optimizer, hyperparameters } = entrant;
  const specs = Object.entries(entry?.hyperparameters ?? {});
  const set = (name: string, value: HyperparameterValue, spec: HyperparameterSpec) => {
    const { [name]: _, ...others } = hyperparameters;
    onChange({ optimizer, hyperparameters: value === spec.default ? others : { ...others, [name]: value } });
  };
  const fieldOf = ([name, spec]: readonly [string, HyperparameterSpec]) => (
    <HyperparameterField
      key={name}
      name={name}
      owner={optimizer}
      spec={spec}
      value={hyperparameters[name] ?? spec.default}
      onValue={(value) => set(name, value, spec)}
    />
  );
  const main = specs.filter(([name]) => name === "learningRate");
  const others = specs.filter(([name]) => name !== "learningRate");
  const changed = others.filter(([name]) => Object.hasOwn(hyperparameters, name)).length;
  return (
    <>
      <div class="entrant-head">
        <span class="swatch" aria-hidden="true" />
        <strong title={entry === undefined ? undefined : `${entry.title}. ${entry.source}, ${entry.year}`}>
          {optimizer}
        </strong>
        <span class="actions">
          <button type="button" class="quiet" disabled={locked} onClick={onCopy}>
            Copy<span class="visually-hidden"> {optimizer}</span>
          </button>
          <button type="button" class="quiet" disabled={locked || !canRemove} onClick={onRemove}>
            Remove<span class="visually-hidden"> {optimizer}</span>
          </button>
        </span>
      </div>
      {entry === undefined
        ? Object.entries(hyperparameters).map(([name, value]) => (
            <p key={name} class="muted">
              {spokenName(name)} {String(value)}
            </p>
          ))
        : main.map(fieldOf)}
      {others.length > 0 && (
        <details class="more">
          <summary>
            {others.length} more{changed > 0 ? `, ${changed} changed` : ""}
            <span class="visually-hidden"> hyperparameters of {optimizer}</span>
          </summary>
          <div class="hyperparameters">{others.map(fieldOf)}</div>
        </details>
      )}
    </>
  );
}

interface HyperparameterFieldProps {
  readonly name: string;
  readonly owner: string;
  readonly spec: HyperparameterSpec;
  readonly value: HyperparameterValue;
  readonly onValue: (value: HyperparameterValue) => void;
}

function HyperparameterField({ name, owner, spec, value, onValue }: HyperparameterFieldProps) {
  const id = useId();
  const locked = useContext(FieldsLocked);
  const label = (
    <>
      <span title={spec.description}>{spokenName(name)}</span>
      <span class="visually-hidden"> of {owner}</span>
    </>
  );
  if (spec.type === "boolean") {
    return (
      <label class="check">
        <input
          type="checkbox"
          checked={value === true}
          disabled={locked}
          onChange={({ currentTarget }) => onValue(currentTarget.checked)}
        />
        <span>{label}</span>
      </label>
    );
  }
  if (spec.type === "choice") {
    return (
      <div class="field inline">
        <label for={id}>{label}</label>
        <select
          id={id}
          value={String(value)}
          disabled={locked}
          onChange={({ currentTarget }) => onValue(currentTarget.value)}
        >
          {spec.choices.map((choice) => (
            <option key={choice} value={choice}>
              {choice}
            </option>
          ))}
        </select>
      </div>
    );
  }
  return (
    <div class="inline">
      <Field
        label={label}
        text={String(value)}
        read={(text) => {
          const typed = text.trim() === "" ? Number.NaN : Number(text.replace(",", "."));
          const wrong = complaint(spec, typed);
          return wrong === undefined ? { value: typed } : { wrong };
        }}
        onValue={onValue}
      />
    </div>
  );
}

interface OptimizerPickerProps {
  readonly summary: RefObject<HTMLElement | null>;
  readonly optimizers: readonly OptimizerEntry[];
  readonly onPick: (name: string) => void;
}

/** All optimizers of the registry, found by any part of their names, titles, papers and years. */
function OptimizerPicker({ summary, optimizers, onPick }: OptimizerPickerProps) {
  const search = useSignal("");
  const words = search.value.toLowerCase().split(/\s+/);
  const found = optimizers.filter(({ name, title, source, year, family }) => {
    const text = `${name} ${title} ${source} ${year} ${familyNames[family]}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  return (
    <details class="picker">
      <summary ref={summary}>Add an optimizer</summary>
      <input
        type="search"
        aria-label="Search the optimizers"
        placeholder={`Search ${optimizers.length} optimizers`}
        value={search.value}
        onInput={({ currentTarget }) => {
          search.value = currentTarget.value;
        }}
        onKeyDown={(event) => {
          // In a form, Enter would start the race.
          if (event.key !== "Enter") return;
          event.preventDefault();
          const [first] = found;
          if (first !== undefined) onPick(first.name);
        }}
      />
      <p class="visually-hidden" role="status">
        {found.length} found
      </p>
      <ul class="found">
        {found.map(({ name, title, year, family }) => (
          <li key={name}>
            <button type="button" onClick={() => onPick(name)}>
              <strong>{name}</strong> <span class="muted">{year}</span>
              <small>
                {title} · {familyNames[family]}
              </small>
            </button>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="muted">Nothing has “{search.value}” in its name or paper.</p>}
    </details>
  );
}

const familyNames: Readonly<Record<OptimizerEntry["family"], string>> = {
  gradient: "gradient",
  momentum: "momentum",
  adaptive: "adaptive",
  sign: "sign",
  layerwise: "layerwise",
  nonDiagonal: "non-diagonal",
  averaging: "averaging",
  rateFree: "without learning rate",
};
