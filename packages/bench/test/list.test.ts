import { catalogue, optimizers } from "@thalweg/optim";
import { describe, expect, it } from "vitest";
import { runCommand } from "./fake-terminal";

const list = async (...args: string[]) => JSON.parse((await runCommand(["list", ...args, "--json"])).out);

describe("thalweg list", () => {
  it("shows every optimizer once, in its family, with what it keeps, costs and wants", async () => {
    const { out } = await runCommand(["list", "optimizers"]);
    for (const { name, title, year } of Object.values(optimizers)) {
      const lines = out.split("\n").filter((line) => line.startsWith(`  ${name} `));
      expect(lines, name).toHaveLength(1);
      expect(lines[0]).toContain(title);
      expect(lines[0]).toContain(String(year));
    }
    expect(out).toMatch(/samAdamw .*\n\s+2 buffers, cost: two gradients, needs valueAndGrad/);
    expect(out).toMatch(/dog .*\n\s+2 buffers, cost: two norms, no learning rate and no schedule to set/);
  });

  it("shows an optimizer's hyperparameters with default, range and tuning, and its presets", async () => {
    const { out } = await runCommand(["list", "optimizers", "rmsprop"]);
    expect(out).toMatch(/decay\s+0\.99\s+\[0, 1\) or a schedule\s+1 - log 0\.0001 … 1/);
    expect(out).toContain(
      "presets.tensorflow1.rmsprop: learningRate 0.001, decay 0.9, epsilon 1e-10, epsilonInRoot true",
    );
    const { optimizer } = await list("optimizers", "rmsprop");
    expect(optimizer.hyperparameters.decay).toMatchObject({ default: 0.99, min: 0, max: 1, open: "max" });
    expect(optimizer.presets["tensorflow1.rmsprop"]).toMatchObject({ initialAccumulator: 1 });
  });

  it("shows the catalogue with our status for each", async () => {
    const { out } = await runCommand(["list", "catalogue"]);
    for (const { name } of catalogue) expect(out).toContain(name);
    expect((await list("catalogue")).catalogue).toHaveLength(catalogue.length);
  });

  it("suggests the nearest name", async () => {
    expect((await runCommand(["list", "optimizers", "adm"])).error).toContain(
      'unknown optimizer "adm". Did you mean "adam"?',
    );
    expect((await runCommand(["list", "optimisers"])).error).toContain('Did you mean "optimizers"?');
    expect((await runCommand(["list", "workloads", "digits"])).error).toContain(
      "only optimizers have a list of their own",
    );
  });
});
