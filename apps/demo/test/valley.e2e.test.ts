import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Browser, Page } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launch, Visitor } from "./visitor";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const rosenbrock = "#valley?problem=rosenbrock&map=-2,2,-1,3&start=-0.5,1.5&steps=100";
const still = { reducedMotion: "reduce" } as const;

/** The row of a runner in the table, once its path is whole. */
async function rowOf(page: Page, runner: string) {
  const row = page.getByRole("row", { name: new RegExp(`^${runner} `) });
  await row.filter({ hasNotText: /being computed/ }).waitFor({ timeout: 120_000 });
  const numbers = async (cell: string, attribute: string): Promise<readonly number[]> =>
    ((await row.locator(cell).getAttribute(attribute)) ?? "").split(",").map(Number);
  return {
    text: (await row.textContent()) ?? "",
    point: (await numbers("[data-point]", "data-point")) as readonly [number, number],
    value: (await numbers("[data-value]", "data-value"))[0] as number,
  };
}

/** SGD on Rosenbrock's function in float64. */
function descend(rate: number, steps: number, [x, y]: readonly [number, number]): readonly [number, number] {
  for (let step = 0; step < steps; step++) {
    const slope = [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)] as const;
    [x, y] = [x - rate * slope[0], y - rate * slope[1]];
  }
  return [x, y];
}

function expectNear(found: readonly [number, number], expected: readonly [number, number]): void {
  // Every step rounds by a few units of 1e-7 (paths/program.test.ts has the bound), and the valley draws them together.
  expect(Math.hypot(found[0] - expected[0], found[1] - expected[1])).toBeLessThan(2e-4);
}

describe("paths in the valley", () => {
  it("are those of float64, from wherever a click, a key or a number sets the start, at any rate", async () => {
    const visitor = await Visitor.arrive(browser, `${rosenbrock}&run=sgd,learningRate:0.0005`, still);
    const { page } = visitor;
    expectNear((await rowOf(page, "SGD")).point, descend(0.0005, 100, [-0.5, 1.5]));

    const map = page.getByRole("group", { name: /^Map of the function/ });
    const start = page.getByRole("application", { name: /^Start at/ });
    const box = (await map.boundingBox())!;
    await map.click({ position: { x: box.width * 0.7, y: box.height * 0.6 } });
    await page.waitForURL(/start=(?!-0\.5,1\.5)/);
    const clicked = startOf(page);
    expect(clicked[0]).toBeGreaterThan(0.3);
    await expectPath(page, 0.0005, clicked);

    await start.focus();
    expect(await start.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.keyboard.press("Shift+ArrowLeft");
    await page.keyboard.press("ArrowUp");
    await page.waitForURL((url) => !url.hash.includes(`start=${clicked.join()}`));
    const moved = startOf(page);
    expect(moved[0]).toBeLessThan(clicked[0] - 0.05);
    expect(moved[1]).toBeGreaterThan(clicked[1]);
    await expectPath(page, 0.0005, moved);

    await page.getByLabel("Start, x").fill("-1");
    await page.getByLabel("Start, x").press("Enter");
    await page.getByLabel("Start, y").fill("0,5");
    await page.getByLabel("Start, y").press("Enter");
    await page.waitForURL(/start=-1,0\.5/);
    await expectPath(page, 0.0005, [-1, 0.5]);

    const rate = page.getByLabel("learning rate", { exact: true });
    await rate.focus();
    for (let press = 0; press < 20; press++) await page.keyboard.press("ArrowRight");
    await page.waitForURL(/learningRate:0\.000(?!5)/);
    const faster = Number(/learningRate:([\d.]+)/.exec(page.url())?.[1]);
    expect(faster).toBeGreaterThan(0.0007);
    await expectPath(page, faster, [-1, 0.5]);

    await page.getByLabel("learning rate of", { exact: false }).fill("0.1");
    await page.getByLabel("learning rate of", { exact: false }).press("Enter");
    const row = page.getByRole("row", { name: /^SGD .* diverged at step \d+/ });
    await row.waitFor();
    // The same step as in float64: the function has left the numbers of f32.
    const step = Number(/step (\d+)/.exec((await row.textContent()) ?? "")?.[1]);
    const [before, after] = [step - 1, step].map((count) => descend(0.1, count, [-1, 0.5])) as [
      readonly [number, number],
      readonly [number, number],
    ];
    expect(Math.hypot(...before)).toBeLessThan(1e4);
    expect(Math.hypot(...after)).toBeGreaterThan(1e3);
    await page
      .locator(".readout")
      .getByText(/SGD diverged at step/)
      .waitFor();
    expect(visitor.complaints).toEqual([]);
    await visitor.leave();
  });

  it("are reproduced by their link", async () => {
    const visitor = await Visitor.arrive(
      browser,
      "#valley?problem=own&f=x%5E2%20%2B%20cos(3%20y)&start=1,0.4&noise=0.3&seed=5&steps=100&run=adam,learningRate:0.2,beta1:0.8&run=signum",
      still,
    );
    const { page } = visitor;
    const before = [await rowOf(page, "Adam"), await rowOf(page, "Signum")];
    // The page writes down what the link left open.
    await page.waitForURL(/map=-3,3,-3,3/);
    const link = new URL(page.url()).hash;
    await page.getByLabel("Function", { exact: true }).selectOption("beale");
    await page.waitForURL(/problem=beale/);
    expect(await page.getByLabel("f(x, y)").inputValue()).toContain("2.625");
    await visitor.leave();
    const other = await Visitor.arrive(browser, link, still);
    expect(await other.page.getByLabel("f(x, y)").inputValue()).toBe("x^2 + cos(3 y)");
    expect([await rowOf(other.page, "Adam"), await rowOf(other.page, "Signum")]).toEqual(before);
    await other.leave();
  });

  it("play from the start, unless motion is unwelcome, and can be held and moved", async () => {
    const visitor = await Visitor.arrive(browser, `${rosenbrock}&run=sgd,learningRate:0.0005`);
    const { page } = visitor;
    await page.getByRole("button", { name: "Pause" }).click();
    const time = page.getByRole("slider", { name: "Step", exact: true });
    await time.fill("10");
    await page.getByText("step 10 of 100").waitFor();
    await rowOf(page, "SGD");
    const drawn = () => page.locator(".trail .line").getAttribute("d");
    const early = ((await drawn()) ?? "").match(/L/g)?.length;
    expect(early).toBe(11);
    await page.getByRole("button", { name: "Play" }).click();
    await page.getByText("step 100 of 100").waitFor({ timeout: 20_000 });
    expect(((await drawn()) ?? "").match(/L/g)).toHaveLength(101);
    await visitor.leave();
    const calm = await Visitor.arrive(browser, `${rosenbrock}&run=sgd`, still);
    await calm.page.getByText("step 100 of 100").waitFor();
    expect(await calm.page.getByRole("button", { name: "Play" }).count()).toBe(1);
    await calm.leave();
  });

  it("are computed anew when the GPU is lost", async () => {
    const visitor = await Visitor.arrive(browser, `?lose-device${rosenbrock}&run=sgd,learningRate:0.0005`, still);
    const { page } = visitor;
    await page.getByText("The GPU was lost; the paths were computed anew.").waitFor({ timeout: 120_000 });
    await page.getByLabel("Start, x").fill("-1");
    await page.getByLabel("Start, x").press("Enter");
    await expectPath(page, 0.0005, [-1, 1.5]);
    await visitor.leave();
  });
});

/** Waits until the path from a start is there. */
async function expectPath(page: Page, rate: number, start: readonly [number, number]): Promise<void> {
  const expected = descend(rate, 100, start);
  await page.waitForFunction(
    ([x, y]) => {
      const [a, b] = (document.querySelector("[data-point]")?.getAttribute("data-point") ?? "").split(",").map(Number);
      return Math.hypot((a as number) - x, (b as number) - y) < 2e-4;
    },
    expected,
    { timeout: 60_000 },
  );
  expectNear((await rowOf(page, "SGD")).point, expected);
}

function startOf(page: Page): readonly [number, number] {
  const [x, y] = (/start=([^&]+)/.exec(page.url())?.[1] ?? "").split(",").map(Number);
  return [x as number, y as number];
}

describe("a formula", () => {
  it("that cannot be read is marked where it goes wrong, and the ground stays until one can", async () => {
    const visitor = await Visitor.arrive(browser, `${rosenbrock}&run=sgd,learningRate:0.1`, still);
    const { page } = visitor;
    const formula = page.getByLabel("f(x, y)");
    await page.locator(".thalweg").first().waitFor();
    const ground = await page.locator(".map path").count();
    await formula.fill("x^2 + sn(y)");
    await page.getByText("At character 7: “sn” is not known. Did you mean sin?").waitFor();
    expect(await page.locator(".excerpt mark").textContent()).toBe("sn");
    expect(await formula.getAttribute("aria-invalid")).toBe("true");
    expect(await page.locator(".map path").count()).toBe(ground);
    await formula.fill("(x - 1)^2 + y^2");
    expect(await formula.getAttribute("aria-invalid")).toBe("false");
    await page.locator(".minimum title").filter({ hasText: "Minimum at 1, 0: 0" }).waitFor({ state: "attached" });
    // 0.8 of the way to the minimum is left after each step.
    const { text, value } = await rowOf(page, "SGD");
    expect(value).toBeLessThan(1e-9);
    expect(text).toMatch(/reached a minimum at step 3\d/);
    expect(visitor.complaints).toEqual([]);
    await visitor.leave();
  });
});

describe("pictures", () => {
  it("of map and surface are saved as SVG and PNG, in the colours of the page", async () => {
    const visitor = await Visitor.arrive(browser, `${rosenbrock}&run=sgd,learningRate:0.0005`, {
      ...still,
      colorScheme: "dark",
    });
    const { page } = visitor;
    await rowOf(page, "SGD");
    await page.waitForTimeout(500);
    const map = (await visitor.save("SVG of the map")).content.toString();
    expect(map).toMatch(/thalweg<\/textPath>/);
    expect(map).not.toMatch(/var\(|class=|NaN/);
    expect(map).toContain("SGD");
    const surface = (await visitor.save("SVG of the surface")).content.toString();
    expect(surface.match(/<path/g)!.length).toBeGreaterThan(4000);
    for (const what of ["map", "surface"]) {
      const { content, name } = await visitor.save(`PNG of the ${what}`);
      expect(name).toBe(`thalweg-${what}.png`);
      // A picture of one colour would pack into less.
      expect(content.length).toBeGreaterThan(20_000);
    }
    await page.getByRole("application", { name: /surface/ }).focus();
    await page.keyboard.press("ArrowLeft");
    await page.waitForTimeout(300);
    expect((await visitor.save("SVG of the surface")).content.toString()).not.toBe(surface);
    expect(visitor.complaints).toEqual([]);
    await visitor.leave();
  });
});

describe("everybody", () => {
  it("can use it: axe finds nothing with all controls open", async () => {
    const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    for (const colorScheme of ["light", "dark"] as const) {
      const visitor = await Visitor.arrive(browser, `${rosenbrock}&run=sgd&run=adam`, { ...still, colorScheme });
      const { page } = visitor;
      await rowOf(page, "Adam");
      for (const summary of await page.locator("summary:visible").all()) await summary.click();
      await page.getByLabel("f(x, y)").fill("x +");
      await page.evaluate(axeSource);
      const violations = await page.evaluate(async () => {
        const { axe } = globalThis as unknown as { axe: { run(): Promise<AxeResults> } };
        return (await axe.run()).violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target}`));
      });
      expect(violations).toEqual([]);
      await visitor.leave();
    }
  });

  it("sees the map without WebGPU, and why there is no more", async () => {
    const plain = await launch({ withGpu: false });
    const visitor = await Visitor.arrive(plain, rosenbrock, still);
    const { page } = visitor;
    await page.locator(".thalweg").first().waitFor();
    await page.getByText(/^No paths:/).waitFor();
    await page.getByText(/The surface needs WebGPU/).waitFor();
    await page.getByRole("link", { name: "which browsers have it" }).first().click();
    await page.getByRole("heading", { name: /Browsers with WebGPU/ }).waitFor();
    expect(visitor.complaints).toEqual([]);
    await plain.close();
  });
});
