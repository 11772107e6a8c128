import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultDevice, setDefaultDevice } from "@thalweg/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommand } from "./fake-terminal";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "thalweg-bad-"));
  writeFileSync(join(folder, "a-file"), "");
  mkdirSync(join(folder, "empty"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a command whose arguments may name the folder, and gives its exit code and message without the folder's name. */
async function fail(command: string): Promise<string> {
  const { code, out, error } = await runCommand(command.replaceAll("FOLDER", folder).split(" "));
  expect(out).toBe("");
  return `exit ${code}: ${error.replaceAll(folder, "FOLDER").trimEnd()}`;
}

describe("a mistake ends in one message with the way out", () => {
  it.each([
    "bench digist",
    "bench digits --optimizers adam,sdg",
    "bench digits --optimizers adam,,sgd",
    "bench digits --optimizers adam --lr sgd=0.1",
    "bench digits --lr adam=fast",
    "bench digits --lr adam=-1",
    "bench digits --set adam.beta3=0.9",
    "bench digits --set adam.beta1=1.5",
    "bench digits --seeds 0",
    "bench digits --budget 60",
    "bench digits --target 90",
    "bench digits --batch-size 9000",
    "bench digits --nonsense",
    "bench digits --report pdf",
    "bench",
    "run digits adm",
    "run digits adam --learning-rat 0.1",
    "run digits adam --lr x",
    "run digits adam --epochs 1 --budget 2epochs",
    "run digits adam --lr-sched-epochs 1,2",
    "run nothing-like-it adam",
    "profile digits --optimizer momentun",
    "profile digits --steps 0",
    "list workload",
    "report FOLDER/no",
    "report FOLDER/a-file",
    "report FOLDER/empty",
    "report FOLDER/empty --out pdf",
    "data fetch fmnits",
    "data check digits",
    "dance",
  ])("thalweg %s", async (command) => {
    expect(await fail(command)).toMatchSnapshot();
  });

  it("no adapter is one message, and nothing is written", async () => {
    // Other suites of this process may have a device already, and a run would take that one.
    const before = defaultDevice();
    setDefaultDevice(undefined);
    try {
      const message = await fail("run digits sgd --adapter no-such-gpu --out FOLDER/never");
      expect(message).toMatch(/^exit 1: error: .*no-such-gpu/);
      expect(message.split("\n")).toHaveLength(1);
      expect(existsSync(join(folder, "never"))).toBe(false);
    } finally {
      setDefaultDevice(before);
    }
  });

  it("data that are missing are named with the command that fetches them", async () => {
    const { THALWEG_DATA } = process.env;
    process.env.THALWEG_DATA = join(folder, "empty");
    try {
      const message = await fail("run fmnist_mlp sgd --out FOLDER/never");
      expect(message).toMatch(/^exit 1: error: .*fashion-mnist.*thalweg data fetch/s);
    } finally {
      if (THALWEG_DATA === undefined) delete process.env.THALWEG_DATA;
      else process.env.THALWEG_DATA = THALWEG_DATA;
    }
  });
});

describe("help", () => {
  it("of run shows the hyperparameters of the optimizer that was named, with their defaults", async () => {
    const { code, out } = await runCommand(["run", "digits", "adam", "--help"]);
    expect(code).toBe(0);
    expect(out).toMatch(/--lr, --learning-rate <number>.*default:\s+0\.001/s);
    expect(out).toContain("--beta1 <number>");
  });

  it("of the program lists every command", async () => {
    const { code, out } = await runCommand(["--help"]);
    expect(code).toBe(0);
    for (const name of ["bench", "run", "report", "list", "devices", "profile", "data"])
      expect(out).toContain(`  ${name} `);
  });

  it("--version is the version that the program was started with", async () => {
    expect(await runCommand(["--version"])).toEqual({ code: 0, out: "1.2.3\n", error: "" });
  });
});

describe("--json", () => {
  it("list is one document with every workload and optimizer", async () => {
    const { out, error } = await runCommand(["list", "--json"]);
    const { workloads, optimizers } = JSON.parse(out);
    expect(error).toBe("");
    expect(workloads.map(({ name }: { name: string }) => name)).toContain("fmnist_2c2d");
    expect(optimizers.map(({ name }: { name: string }) => name)).toEqual(expect.arrayContaining(["sgd", "adamw"]));
  });
});
