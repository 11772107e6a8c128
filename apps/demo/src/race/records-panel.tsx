import { useSignal } from "@preact/signals";
import { formatProblem, parseRecords } from "@thalweg/bench";
import { useRef } from "preact/hooks";
import { download } from "./download";
import { environmentOf } from "./lanes";
import { imported, records } from "./session";

/** More than so many problems of imported files say nothing more. */
const shownProblems = 5;

/** Records out of the page and into it: JSON lines, as the command line writes them. */
export function RecordsPanel() {
  const problems = useSignal<readonly string[]>([]);
  const outcome = useSignal("");
  const input = useRef<HTMLInputElement>(null);
  const own = records.value;

  const open = async (files: readonly File[]) => {
    const read = await Promise.all(files.map(async (file) => parseRecords(await file.text(), file.name)));
    const found = read.flatMap((file) => file.records);
    problems.value = read.flatMap((file) => file.problems.map(formatProblem));
    imported.value = [...imported.value, ...found];
    outcome.value = found.length === 0 ? "No record was opened." : `${plural(found.length, "record")} opened.`;
    if (input.current !== null) input.current.value = "";
  };

  return (
    <section
      class="panel records"
      aria-labelledby="records-title"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        void open([...(event.dataTransfer?.files ?? [])]);
      }}
    >
      <h2 id="records-title">Records</h2>
      <p class="hint">
        Every run leaves a record: JSON lines, the same as those of <code>thalweg bench</code> in Node. Open records of
        either to see them in these charts; <code>thalweg report</code> reads what you save here.
      </p>
      <div class="buttons">
        <button
          type="button"
          disabled={own.length === 0}
          onClick={() => {
            const text = own.map((record) => record.text).join("");
            download(`thalweg-${own.length}-runs.jsonl`, new Blob([text], { type: "application/jsonl" }));
          }}
        >
          Save {own.length === 0 ? "records" : plural(own.length, "record")}
        </button>
        <label class="button">
          Open records
          <input
            ref={input}
            class="visually-hidden"
            type="file"
            accept=".jsonl,.ndjson,application/jsonl"
            multiple
            onChange={({ currentTarget }) => void open([...(currentTarget.files ?? [])])}
          />
        </label>
      </div>
      <p role="status" class="muted">
        {outcome.value}
      </p>
      {problems.value.length > 0 && (
        <div role="alert" class="problems">
          <p>Not all of it could be read:</p>
          <ul>
            {problems.value.slice(0, shownProblems).map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
          {problems.value.length > shownProblems && <p>and {problems.value.length - shownProblems} more.</p>}
        </div>
      )}
      <ImportedList />
    </section>
  );
}

/** What was opened, by where it ran. */
function ImportedList() {
  if (imported.value.length === 0) return null;
  const counts = new Map<string, number>();
  for (const { header } of imported.value) {
    const environment = environmentOf(header.environment);
    counts.set(environment, (counts.get(environment) ?? 0) + 1);
  }
  return (
    <>
      <ul>
        {[...counts].map(([environment, count]) => (
          <li key={environment}>
            {environment}: {plural(count, "run")}
          </li>
        ))}
      </ul>
      <button
        type="button"
        class="quiet"
        onClick={() => {
          imported.value = [];
        }}
      >
        Close them
      </button>
    </>
  );
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
