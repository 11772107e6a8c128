import { parseRecords } from "@thalweg/bench";
import { useEffect } from "preact/hooks";
import { imported } from "../race/session";
import { hashOf } from "../shell/route";

/** Stands where the controls would, when there is no GPU to train on. Recorded runs fill the page meanwhile. */
export function NoGpu({ reason }: { readonly reason: string }) {
  useEffect(() => {
    void openRecordedRuns();
  }, []);
  return (
    <section class="panel notice-panel" aria-labelledby="no-gpu-title">
      <h2 id="no-gpu-title">No WebGPU here</h2>
      <p>
        A race trains on your GPU through WebGPU, and this browser does not offer it. {reason}{" "}
        <a href={hashOf({ view: "help", query: "" })}>Which browsers have it, and how to turn it on.</a>
      </p>
      <p class="muted">Below are runs that were recorded elsewhere. You can open records of your own, too.</p>
    </section>
  );
}

/** Shows the runs that come with the page. */
export async function openRecordedRuns(): Promise<void> {
  if (imported.value.length > 0) return;
  const response = await fetch(new URL("recorded/digits.jsonl", document.baseURI));
  if (!response.ok) return;
  imported.value = parseRecords(await response.text(), "digits.jsonl").records;
}
