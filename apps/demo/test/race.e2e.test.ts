import type { RunRecord } from "@thalweg/bench";
import type { Browser } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { largestTask } from "./main-thread";
import { launch, shortRace, Visitor } from "./visitor";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

/** The numbers of a run, without times. */
const numbersOf = ({ evaluations, training }: RunRecord) => ({
  training,
  evaluations: evaluations.map(({ step, phases }) => ({ step, phases })),
});

describe("the race", () => {
  it("starts by one click and reaches its target, while the page stays free for its reader", async () => {
    const visitor = await Visitor.arrive(browser, "#race?target=0.8");
    const { page } = visitor;
    await browser.startTracing(page, { categories: ["disabled-by-default-devtools.timeline"] });
    await visitor.start();
    await page
      .getByRole("row", { name: /1 of 3/ })
      .first()
      .waitFor({ timeout: 220_000 });
    const trace = await browser.stopTracing();

    // A reader pauses, and the steps stand still.
    await visitor.button("Pause").click();
    await visitor.button("Go on").waitFor();
    // What was under way still arrives; then nothing does for five seconds.
    let seen: unknown;
    const standsStill = async (): Promise<boolean> => {
      const before = seen;
      await page.waitForTimeout(5000);
      seen = JSON.stringify(await visitor.chartData("Test loss against steps"));
      return seen === before;
    };
    await expect.poll(standsStill, { timeout: 60_000 }).toBe(true);
    await visitor.button("Go on").click();
    await visitor.button("Stop").click();
    expect(await visitor.outcome()).toMatch(/^Stopped: \d+ of 12 runs have a record\.$/);

    const accuracy = await visitor.chartData("Test accuracy against steps");
    const first = accuracy.filter(([line]) => line === "sgd, learning rate 0.4, seed 42");
    expect(first.map(([, step]) => step)).toEqual(first.map((_, index) => 25 * index));
    expect(first.at(-1)?.[2]).toBeGreaterThanOrEqual(0.8);
    expect(first.slice(0, -1).every(([, , value]) => value < 0.8)).toBe(true);
    const time = await visitor.chartData("Test accuracy against time");
    const firstInTime = time.filter(([line]) => line === "sgd, learning rate 0.4, seed 42");
    expect(firstInTime.map(([, , value]) => value)).toEqual(first.map(([, , value]) => value));

    const images = page.getByRole("region", { name: "What the model sees" }).getByRole("listitem");
    expect(await images.count()).toBe(24);
    expect(await images.first().textContent()).toMatch(/right|wrong/);

    await visitor.button("Reset").click();
    expect(await visitor.chartData("Test accuracy against steps")).toEqual([]);
    expect(visitor.complaints).toEqual([]);
    const { milliseconds, tasks } = largestTask(trace);
    expect(tasks).toBeGreaterThan(100);
    expect(milliseconds).toBeLessThanOrEqual(50);
    await visitor.leave();
  });

  it("is reproduced by its link, to the bit; its records are those of Node, and come back in", async () => {
    const visitor = await Visitor.arrive(browser, shortRace);
    await visitor.start();
    expect(await visitor.outcome()).toBe("Finished: 1 of 1 runs reached the target.");
    const [record] = (await visitor.records()) as [RunRecord];
    expect(record.end?.status).toBe("reached");
    expect(record.header.environment.runtime).toMatch(/^chrome \d/);
    expect(record.header.configuration).toMatchObject({ optimizer: "adam", seed: 1, target: { value: 0.8 } });
    expect(record.header.configuration.hyperparameters).toMatchObject({ learningRate: 0.01 });

    const link = new URL(visitor.page.url()).hash;
    const other = await Visitor.arrive(browser, link);
    const exported = await visitor.save(/^Save 1 record/);
    await other.open("records.jsonl", exported.content);
    await other.page.getByText("1 record opened.").waitFor();
    const drawn = (await visitor.chartData("Test accuracy against steps")).map(([, x, y]) => [x, y]);
    expect(drawn.length).toBeGreaterThan(1);
    expect((await other.chartData("Test accuracy against steps")).map(([, x, y]) => [x, y])).toEqual(drawn);

    await other.start();
    expect(await other.outcome()).toBe("Finished: 1 of 1 runs reached the target.");
    const [again] = (await other.records()) as [RunRecord];
    expect(again.header.id).toBe(record.header.id);
    expect(numbersOf(again)).toEqual(numbersOf(record));
    // The opened run and this page's stand side by side, and the legend says which is which.
    const lines = new Set((await other.chartData("Test accuracy against steps")).map(([line]) => line));
    expect(lines.size).toBe(2);
    expect([...lines].some((line) => / \(chrome \d+\)/.test(line))).toBe(true);

    const svg = await visitor.save("SVG of the chart “Test accuracy against steps”");
    expect(svg.name).toBe("thalweg-accuracy-steps.svg");
    expect(svg.content.toString()).toContain("adam, learning rate 0.01, seed 1");
    const png = await visitor.save("PNG of the chart “Test loss against time”");
    expect(png.content.subarray(1, 4).toString()).toBe("PNG");
    const figure = await visitor.save("SVG of the whole race");
    expect(figure.content.toString()).toMatch(/^<svg [\s\S]*adam[\s\S]*<\/svg>$/);
    expect([...visitor.complaints, ...other.complaints]).toEqual([]);
    await visitor.leave();
    await other.leave();
  });

  it("goes on from its checkpoint when the GPU is lost, and ends with the same numbers", async () => {
    const race = "#race?target=none&epochs=0.48&every=20&seeds=3&run=momentum,learningRate:0.04";
    const undisturbed = await Visitor.arrive(browser, race);
    await undisturbed.start();
    await undisturbed.outcome();
    const [expected] = (await undisturbed.records()) as [RunRecord];
    await undisturbed.leave();

    const visitor = await Visitor.arrive(browser, `?lose-device=30${race}`);
    await visitor.start();
    await visitor.page.getByText(/The GPU was lost, and the race goes on/).waitFor({ timeout: 60_000 });
    expect(await visitor.outcome()).toMatch(/^Finished/);
    const [record] = (await visitor.records()) as [RunRecord];
    expect(record.resumes.map(({ step }) => step)).toEqual([20]);
    expect(numbersOf(record)).toEqual(numbersOf(expected));
    const steps = (await visitor.chartData("Test loss against steps"))
      .filter(([line]) => line.endsWith("seed 3"))
      .map(([, step]) => step);
    expect(steps).toEqual([0, 20, 40, 60]);
    expect(visitor.complaints).toEqual([]);
    await visitor.leave();
  });

  it("can be set up and started with the keyboard alone", async () => {
    const visitor = await Visitor.arrive(browser, shortRace);
    const { page } = visitor;
    await page.getByText("Trains in this tab").waitFor();
    const focused = () =>
      page.evaluate(() => {
        const element = document.activeElement as HTMLInputElement | null;
        return element?.labels?.[0]?.textContent ?? element?.textContent ?? "";
      });
    const tabTo = async (name: string) => {
      for (let presses = 0; presses < 60; presses++) {
        await page.keyboard.press("Tab");
        if ((await focused()) === name) return;
      }
      throw new Error(`Tab does not lead to ${name}.`);
    };
    await tabTo("Target accuracy");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle);
    expect(outline).toBe("solid");
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("30");
    await tabTo("Add an optimizer");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.type("duchi");
    await page.keyboard.press("Enter");
    expect(new URL(page.url()).hash).toBe("#race?target=0.3&every=50&seeds=1&run=adam,learningRate:0.01&run=adagrad");
    await tabTo("Remove adagrad");
    await page.keyboard.press("Enter");
    await tabTo("Start the race");
    await page.keyboard.press("Enter");
    expect(await visitor.outcome()).toBe("Finished: 1 of 1 runs reached the target.");
    await visitor.leave();
  });
});

describe("what goes wrong is said", () => {
  it("in a file that is no record, and in one of which a part is broken", async () => {
    const visitor = await Visitor.arrive(browser);
    const alert = visitor.page.getByRole("region", { name: "Records" }).getByRole("alert");
    await visitor.open("cats.jsonl", '{"cats": 7}\n');
    expect(await alert.textContent()).toContain("cats.jsonl:1: type: expected text, found nothing");
    await visitor.page.getByText("No record was opened.").waitFor();
    const recorded = await (await fetch(new URL("recorded/digits.jsonl", visitor.page.url()))).text();
    const [header = "", second = ""] = recorded.split("\n");
    await visitor.open("half.jsonl", `${header}\n${second.slice(0, 40)}\n${second}\n`);
    await visitor.page.getByText("1 record opened.").waitFor();
    expect(await alert.textContent()).toContain("half.jsonl:2: not JSON");
    await visitor.leave();
  });

  it("of a data set that the server does not have", async () => {
    const visitor = await Visitor.arrive(browser, "#race?workload=fmnist_logreg&seeds=1&run=sgd");
    await visitor.start();
    expect(await visitor.outcome()).toMatch(/^The race could not go on/);
    const message = await visitor.page.getByRole("alert").textContent();
    expect(message).toContain("fashion-mnist/train-images-idx3-ubyte.gz: the server answers 404");
    expect(message).toContain("thalweg data fetch fmnist");
    await visitor.leave();
  });

  it("of a link to what does not exist, and of a value that cannot be", async () => {
    const visitor = await Visitor.arrive(browser, "#race?run=adamm");
    await visitor.page.getByText("The link asks for an optimizer “adamm”, which does not exist.").waitFor();
    const target = visitor.page.getByLabel("Target accuracy");
    await target.fill("120");
    await visitor.page.getByText("Give a percentage, up to 100.").waitFor();
    await visitor.start();
    expect(await visitor.state.textContent()).toContain("Trains in this tab");
    await target.fill("20");
    await visitor.page.waitForURL(/#race\?target=0\.2$/);
    await visitor.leave();
  });
});

describe("without WebGPU", () => {
  it("the page says so, shows recorded runs, and leads to the help", async () => {
    const plain = await launch({ withGpu: false });
    const visitor = await Visitor.arrive(plain);
    const { page } = visitor;
    await page.getByRole("heading", { name: "No WebGPU here" }).waitFor();
    await page
      .getByRole("row", { name: /adam.*3 of 3/ })
      .first()
      .waitFor();
    expect((await visitor.chartData("Test accuracy against time")).length).toBeGreaterThan(12);
    await page.getByRole("link", { name: "Which browsers have it" }).click();
    await page.getByRole("heading", { name: "Browsers with WebGPU" }).waitFor();
    expect(await page.getByRole("row", { name: /Safari/ }).textContent()).toContain("26");
    expect(visitor.complaints).toEqual([]);
    await plain.close();
  });
});
