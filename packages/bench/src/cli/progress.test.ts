import { describe, expect, it } from "vitest";
import { Progress, type ProgressState } from "./progress";
import type { Terminal } from "./terminal";

const state: ProgressState = {
  label: "adam, seed 42",
  step: 1200,
  epoch: 2.5,
  loss: 0.4321,
  accuracy: 0.875,
  evaluated: "test accuracy 91.2 %",
  stepsPerSecond: 123.456,
  fraction: 0.5,
};

function fakeTerminal(live: boolean, columns = 200) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const terminal: Terminal = {
    out: () => {},
    error: (text) => written.push(text),
    live,
    columns: () => columns,
    now: () => clock.ms,
    signal: new AbortController().signal,
  };
  return { terminal, written, clock };
}

describe("Progress", () => {
  it("rewrites one line where somebody watches, at most ten times a second", () => {
    const { terminal, written, clock } = fakeTerminal(true);
    const progress = new Progress(terminal, 4);
    for (clock.ms = 2000; clock.ms < 2300; clock.ms += 10) progress.update(state);
    expect(written).toHaveLength(3);
    expect(written[0]).toBe(
      "\r\u001b[K[1/4] adam, seed 42 · epoch 2.5, step 1\u202f200 · 123 steps/s · loss 0.4321 · batch accuracy 87.5 % · test accuracy 91.2 % · at most 14 s left",
    );
  });

  it("never wraps", () => {
    const { terminal, written } = fakeTerminal(true, 40);
    new Progress(terminal, 1).update(state);
    expect(written[0]).toHaveLength("\r\u001b[K".length + 39);
  });

  it("takes the live line away before a line that stays", () => {
    const { terminal, written } = fakeTerminal(true);
    const progress = new Progress(terminal, 2);
    progress.update(state);
    progress.finish("done");
    expect(written.slice(1)).toEqual(["\r\u001b[K", "[1/2] done\n"]);
  });

  it("writes a plain line every five seconds where nobody watches", () => {
    const { terminal, written, clock } = fakeTerminal(false);
    const progress = new Progress(terminal, 1);
    for (clock.ms = 0; clock.ms <= 11_000; clock.ms += 100)
      progress.update({ ...state, loss: undefined, evaluated: undefined });
    expect(written).toHaveLength(2);
    expect(written[1]).toBe(
      "adam, seed 42 · epoch 2.5, step 1\u202f200 · 123 steps/s · batch accuracy 87.5 % · at most 10 s left\n",
    );
  });
});
