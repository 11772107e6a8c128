import { init } from "thalweg";
import { createPage } from "./page.js";
import { gridPoints, twoSpirals } from "./spirals.js";
import { train } from "./training.js";

const steps = 250;
const interval = 10;
const side = 60;
const grid = gridPoints(side);
const { points, labels } = twoSpirals();
const page = createPage({ steps, side, points, labels });
let seed = 0;

async function run() {
  page.state("working");
  page.clear();
  try {
    // One device for the page; it is asked for again only after it was lost.
    const { adapter } = await init();
    page.adapter([adapter.vendor, adapter.architecture, adapter.description].filter(Boolean).join(" "));
    const start = performance.now();
    for await (const progress of train({ points, labels, grid, seed: seed++, steps, interval })) {
      page.show(progress, (1000 * progress.step) / (performance.now() - start));
    }
    page.state("done");
  } catch (error) {
    page.state("failed", String(error));
  }
}

page.onAgain(run);
await run();
