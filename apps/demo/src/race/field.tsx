import { useSignal } from "@preact/signals";
import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useId, useRef } from "preact/hooks";

/** Whether the fields below may be changed. */
export const FieldsLocked = createContext(false);

/** What a text stands for, or what is wrong with it. */
export type Reading<T> = { readonly value: T } | { readonly wrong: string };

type Complain = (value: number) => string | undefined;

/** A text field whose content stands for a value. */
export interface FieldProps<T> {
  readonly label: ComponentChildren;
  /** The value as text; what is typed is kept as long as it means this value. */
  readonly text: string;
  /** Reads what was typed: a value, or what is wrong with it. */
  readonly read: (text: string) => Reading<T>;
  readonly onValue: (value: T) => void;
  readonly unit?: string;
  readonly hint?: string;
  readonly placeholder?: string;
  readonly numeric?: boolean;
}

/** A labelled text field. While its content is wrong, it says so, the value stays, and its form cannot be sent. */
export function Field<T>({ label, text, read, onValue, unit, hint, placeholder, numeric = true }: FieldProps<T>) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const draft = useSignal(text);
  const wrong = useSignal<string | undefined>(undefined);
  const sent = useRef(text);
  const locked = useContext(FieldsLocked);

  useEffect(() => {
    // The value changed elsewhere: by a link, or with the workload.
    if (text === sent.current) return;
    sent.current = text;
    draft.value = text;
    wrong.value = undefined;
    input.current?.setCustomValidity("");
  }, [text]);

  const change = (typed: string) => {
    draft.value = typed;
    const result = read(typed);
    if ("wrong" in result) {
      wrong.value = result.wrong;
      input.current?.setCustomValidity(result.wrong);
      return;
    }
    wrong.value = undefined;
    input.current?.setCustomValidity("");
    sent.current = typed;
    onValue(result.value);
  };

  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="with-unit">
        <input
          ref={input}
          id={id}
          type="text"
          inputMode={numeric ? "decimal" : undefined}
          autocomplete="off"
          spellcheck={false}
          value={draft.value}
          placeholder={placeholder}
          disabled={locked}
          aria-invalid={wrong.value !== undefined}
          aria-describedby={wrong.value !== undefined || hint !== undefined ? `${id}-note` : undefined}
          onInput={({ currentTarget }) => change(currentTarget.value)}
        />
        {unit !== undefined && <span class="unit">{unit}</span>}
      </div>
      {(wrong.value !== undefined || hint !== undefined) && (
        <p id={`${id}-note`} class={wrong.value === undefined ? "hint" : "hint wrong"}>
          {wrong.value ?? hint}
        </p>
      )}
    </div>
  );
}

/** Reads a number that a check accepts. */
export function readNumber(text: string, complain: Complain): Reading<number> {
  const value = text.trim() === "" ? Number.NaN : Number(text.replace(",", "."));
  const wrong = complain(value);
  return wrong === undefined ? { value } : { wrong };
}

/** Reads a number that may be left out. */
export function readOptional(text: string, complain: Complain): Reading<number | null> {
  return text.trim() === "" ? { value: null } : readNumber(text, complain);
}

export const complainPositive: Complain = (value) =>
  Number.isFinite(value) && value > 0 ? undefined : "Give a number above 0.";

export const complainCount: Complain = (value) =>
  Number.isInteger(value) && value >= 1 ? undefined : "Give a whole number, at least 1.";
