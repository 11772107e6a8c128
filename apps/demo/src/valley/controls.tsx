import { useSignal } from "@preact/signals";
import type { FloatSpec, HyperparameterSpec, IntegerSpec } from "@thalweg/optim";
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { type Configuration, configurationOf, leastSteps, mostRunners, mostSteps } from "./configuration";
import { optimizerTitle } from "./describe";
import { functions } from "./formula/operations";
import type { OptimizerDescription, Runner } from "./optimizers";
import { ownProblem, problemOf, problems } from "./problems";
import { RateCurve } from "./rate-curve";
import { positionOf, type SliderScale, sliderScale, valueAt } from "./slider-scale";
import type { Store } from "./store";
import type { Domain } from "./terrain/domain";

interface StoreProps {
  readonly store: Store;
}

/** Which function, and with what: the formula, the start, steps and noise. */
export function ProblemControls({ store }: StoreProps) {
  const { problem, steps, noise, seed, start, scale } = store.configuration.value;
  const id = useId();
  return (
    <section class="panel problem" aria-label="What is minimized">
      <div class="field">
        <label for={`${id}-problem`}>Function</label>
        <select
          id={`${id}-problem`}
          value={problem}
          onChange={({ currentTarget }) => choose(store, currentTarget.value)}
        >
          {[...problems, ownProblem].map(({ id: value, title }) => (
            <option key={value} value={value}>
              {title}
            </option>
          ))}
        </select>
      </div>
      <FormulaField store={store} />
      <div class="field">
        <span class="label">Start</span>
        <div class="pair">
          <NumberField label="Start, x" value={start.x} onChange={(x) => store.change({ start: { ...start, x } })} />
          <NumberField label="Start, y" value={start.y} onChange={(y) => store.change({ start: { ...start, y } })} />
        </div>
      </div>
      {problem === ownProblem.id && <RangeFields store={store} />}
      <div class="field">
        <label for={`${id}-steps`}>
          Steps <output>{steps}</output>
        </label>
        <input
          id={`${id}-steps`}
          type="range"
          min={leastSteps}
          max={mostSteps}
          step={100}
          value={steps}
          onInput={({ currentTarget }) => store.change({ steps: Number(currentTarget.value) })}
        />
      </div>
      <div class="field">
        <label for={`${id}-noise`}>
          Gradient noise <output>{noise === 0 ? "none" : `σ ${noise}`}</output>
        </label>
        <input
          id={`${id}-noise`}
          type="range"
          min={0}
          max={noiseLevels.length - 1}
          step={1}
          value={nearestNoise(noise)}
          onInput={({ currentTarget }) => store.change({ noise: noiseLevels[Number(currentTarget.value)] as number })}
        />
        {noise > 0 && (
          <button type="button" class="quiet" onClick={() => store.change({ seed: seed + 1 })}>
            Draw other noise
          </button>
        )}
      </div>
      <div class="field">
        <label for={`${id}-scale`}>
          Heights <output>{scale === undefined ? store.terrain.value?.scale.kind : ""}</output>
        </label>
        <select
          id={`${id}-scale`}
          value={scale ?? ""}
          onChange={({ currentTarget }) =>
            store.change({ scale: (currentTarget.value || undefined) as Configuration["scale"] })
          }
        >
          <option value="">automatic</option>
          <option value="even">even</option>
          <option value="logarithmic">logarithmic</option>
        </select>
      </div>
    </section>
  );
}

const noiseLevels = [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30] as const;

function nearestNoise(noise: number): number {
  const distances = noiseLevels.map((level) => Math.abs(level - noise));
  return distances.indexOf(Math.min(...distances));
}

function choose(store: Store, id: string): void {
  const { formula, domain, start, ...others } = configurationOf(problemOf(id));
  const before = store.configuration.peek();
  // An own formula begins as the one that is shown.
  if (id === ownProblem.id) store.change({ problem: id, formula: before.formula });
  else store.change({ formula, domain, start, ...others, scale: undefined });
}

/** What of the plane the map shows. */
function RangeFields({ store }: StoreProps) {
  const { domain } = store.configuration.value;
  const change = (parts: Partial<Domain>): void => {
    const next = { ...domain, ...parts };
    if (next.left < next.right && next.bottom < next.top) store.change({ domain: next });
  };
  return (
    <div class="field">
      <span class="label">Map, x and y from – to</span>
      <div class="pair">
        <NumberField label="x from" value={domain.left} onChange={(left) => change({ left })} />
        <NumberField label="x to" value={domain.right} onChange={(right) => change({ right })} />
        <NumberField label="y from" value={domain.bottom} onChange={(bottom) => change({ bottom })} />
        <NumberField label="y to" value={domain.top} onChange={(top) => change({ top })} />
      </div>
    </div>
  );
}

function FormulaField({ store }: StoreProps) {
  const id = useId();
  const { formula, problem } = store.configuration.value;
  const error = store.formulaError.value;
  return (
    <div class="field formula">
      <label for={id}>f(x, y)</label>
      <input
        id={id}
        type="text"
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        value={formula}
        aria-invalid={error !== undefined}
        aria-describedby={`${id}-note`}
        onInput={({ currentTarget }) => store.change({ problem: ownProblem.id, formula: currentTarget.value })}
      />
      <div id={`${id}-note`} class="formula-note" aria-live="polite">
        {error === undefined ? (
          <span class="hint">
            {problem === ownProblem.id
              ? `You can use x, y, + − * / ^, pi, e, ${functions.join(", ")}.`
              : "Edit it to try your own."}
          </span>
        ) : (
          <>
            <code class="excerpt" aria-hidden="true">
              {formula.slice(0, error.position)}
              <mark>{formula.slice(error.position, error.position + error.length) || " "}</mark>
              {formula.slice(error.position + error.length)}
            </code>
            <span class="wrong">{`At character ${error.position + 1}: ${error.message}`}</span>
          </>
        )}
      </div>
    </div>
  );
}

interface NumberFieldProps {
  readonly label: string;
  readonly value: number;
  readonly onChange: (value: number) => void;
}

/** A number that is taken when it makes sense, and put back where it does not. */
function NumberField({ label, value, onChange }: NumberFieldProps) {
  const text = useSignal<string | undefined>(undefined);
  const take = (written: string): void => {
    text.value = undefined;
    const next = Number(written.replace("−", "-").replace(",", "."));
    if (written.trim() !== "" && Number.isFinite(next) && next !== value) onChange(next);
  };
  return (
    <input
      type="text"
      inputmode="decimal"
      aria-label={label}
      value={text.value ?? short(value)}
      onInput={({ currentTarget }) => {
        text.value = currentTarget.value;
      }}
      onBlur={({ currentTarget }) => take(currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === "Enter") take(event.currentTarget.value);
      }}
    />
  );
}

const short = (value: number): string => String(Number(value.toPrecision(4)));

/** The optimizers that run, and their hyperparameters. */
export function RunnerControls({ store }: StoreProps) {
  const { runners } = store.configuration.value;
  const catalogue = store.catalogue.value;
  const remove = (index: number): void => store.change({ runners: runners.filter((_, other) => other !== index) });
  return (
    <section class="runners" aria-label="Optimizers">
      {runners.map((runner, index) => (
        <RunnerCard
          key={`${index} ${runner.optimizer}`}
          store={store}
          runner={runner}
          index={index}
          onRemove={runners.length > 1 ? () => remove(index) : undefined}
        />
      ))}
      <button
        type="button"
        disabled={runners.length >= mostRunners || catalogue.length === 0}
        onClick={() => store.change({ runners: [...runners, addition(runners, catalogue)] })}
      >
        Add an optimizer
      </button>
    </section>
  );
}

/** One that does not run yet. */
function addition(runners: readonly Runner[], catalogue: readonly OptimizerDescription[]): Runner {
  const candidates = [
    "adam",
    "momentum",
    "nesterov",
    "rmsprop",
    "adagrad",
    "lion",
    ...catalogue.map(({ name }) => name),
  ];
  const optimizer = candidates.find((name) => runners.every((runner) => runner.optimizer !== name)) ?? "sgd";
  return { optimizer, options: {} };
}

interface RunnerCardProps {
  readonly store: Store;
  readonly runner: Runner;
  readonly index: number;
  readonly onRemove: (() => void) | undefined;
}

function RunnerCard({ store, runner, index, onRemove }: RunnerCardProps) {
  const id = useId();
  const catalogue = store.catalogue.value;
  const description = catalogue.find(({ name }) => name === runner.optimizer);
  const title = optimizerTitle(catalogue, runner.optimizer);
  const specs = Object.entries(description?.hyperparameters ?? {});
  const [main, more] = [specs.filter(isMain), specs.filter((entry) => !isMain(entry))];
  const control = ([name, spec]: (typeof specs)[number]) => (
    <Hyperparameter key={name} store={store} runner={runner} index={index} name={name} spec={spec} title={title} />
  );
  const failure = store.paths.value[index]?.failure;
  return (
    <fieldset class="panel runner" data-series={index % 8}>
      <legend class="visually-hidden">{title}</legend>
      <div class="runner-head">
        <span class="swatch" aria-hidden="true" />
        <label class="visually-hidden" for={`${id}-name`}>
          {`Optimizer ${index + 1}`}
        </label>
        <select
          id={`${id}-name`}
          value={runner.optimizer}
          onChange={({ currentTarget }) => store.changeRunner(index, { optimizer: currentTarget.value, options: {} })}
        >
          {description === undefined && <option value={runner.optimizer}>{runner.optimizer}</option>}
          {families(catalogue).map(([family, members]) => (
            <optgroup key={family} label={family}>
              {members.map(({ name, title: own }) => (
                <option key={name} value={name}>
                  {own}
                </option>
              ))}
            </optgroup>
          ))}
        </select>
        {onRemove !== undefined && (
          <button type="button" class="quiet" aria-label={`Remove ${title}`} onClick={onRemove}>
            ✕
          </button>
        )}
      </div>
      {failure !== undefined && (
        <p class="wrong" role="alert">
          {failure}
        </p>
      )}
      {main.map(control)}
      {more.length > 0 && (
        <details>
          <summary>More</summary>
          {more.map(control)}
        </details>
      )}
    </fieldset>
  );
}

/** What one turns first: the learning rate, and what tuners search. */
const isMain = ([name, spec]: readonly [string, HyperparameterSpec]): boolean =>
  name === "learningRate" || (spec.type === "float" && spec.tuning !== undefined && name !== "weightDecay");

const familyTitles: Readonly<Record<string, string>> = {
  gradient: "Gradient",
  momentum: "Momentum",
  adaptive: "Adaptive",
  sign: "Sign",
  layerwise: "Layer-wise",
  nonDiagonal: "Not diagonal",
  averaging: "Averaging",
  rateFree: "Without a learning rate",
};

function families(catalogue: readonly OptimizerDescription[]) {
  const names = [...new Set(catalogue.map(({ family }) => family))];
  return names.map(
    (family) => [familyTitles[family] ?? family, catalogue.filter((own) => own.family === family)] as const,
  );
}

interface HyperparameterProps {
  readonly store: Store;
  readonly runner: Runner;
  readonly index: number;
  readonly name: string;
  readonly spec: HyperparameterSpec;
  /** Of the optimizer. */
  readonly title: string;
}

function Hyperparameter({ store, runner, index, name, spec, title }: HyperparameterProps) {
  const id = useId();
  const value = runner.options[name] ?? spec.default;
  const set = (next: number | boolean | string): void =>
    store.changeRunner(index, { ...runner, options: { ...runner.options, [name]: next } });
  const label = (children?: ComponentChildren) => (
    <label for={id} title={spec.description}>
      {words(name)}
      {children}
    </label>
  );
  switch (spec.type) {
    case "boolean":
      return (
        <div class="field check">
          <input
            id={id}
            type="checkbox"
            checked={value === true}
            onChange={({ currentTarget }) => set(currentTarget.checked)}
          />
          {label()}
        </div>
      );
    case "choice":
      return (
        <div class="field">
          {label()}
          <select id={id} value={String(value)} onChange={({ currentTarget }) => set(currentTarget.value)}>
            {spec.choices.map((choice) => (
              <option key={choice} value={choice}>
                {choice}
              </option>
            ))}
          </select>
        </div>
      );
    default: {
      const number = typeof value === "number" ? value : spec.default;
      const scale = sliderScale(name, spec);
      return (
        <div class="field slider">
          <div class="slider-head">
            {label()}
            <NumberField
              label={`${words(name)} of ${title}, as a number`}
              value={number}
              onChange={(next) => set(next)}
            />
          </div>
          <Slider id={id} scale={scale} spec={spec} value={number} onChange={set} />
          {name === "learningRate" && <RateCurve store={store} index={index} rate={number} />}
        </div>
      );
    }
  }
}

interface SliderProps {
  readonly id: string;
  readonly scale: SliderScale;
  readonly spec: FloatSpec | IntegerSpec;
  readonly value: number;
  readonly onChange: (value: number) => void;
}

function Slider({ id, scale, spec, value, onChange }: SliderProps) {
  return (
    <input
      id={id}
      type="range"
      min={0}
      max={scale.positions}
      step={1}
      value={positionOf(scale, value)}
      aria-valuetext={short(value)}
      title={spec.description}
      onInput={({ currentTarget }) => onChange(valueAt(scale, Number(currentTarget.value)))}
    />
  );
}

/** `weightDecay` as "weight decay". */
const words = (name: string): string => name.replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
