const svg = "http://www.w3.org/2000/svg";
const [width, height] = [480, 480];
const margin = { left: 56, right: 16, top: 16, bottom: 40 };
/** The loss axis is logarithmic and reaches from 1 down to this. */
const lowest = 1e-3;

/** Builds the page and returns what changes on it. */
export function createPage({ steps, side, points, labels }) {
  document.body.innerHTML = `
    <main>
      <header>
        <h1>Thalweg in a page</h1>
        <p>A network learns to tell two spirals apart, on your GPU, in this tab.</p>
      </header>
      <section class="figures">
        <figure>
          <canvas id="field" width="${width}" height="${height}" role="img" aria-label="The plane, coloured by class"></canvas>
          <figcaption>What the network says of every point of the plane.</figcaption>
        </figure>
        <figure>
          <svg id="chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="The training loss by step"></svg>
          <figcaption>The training loss, step by step.</figcaption>
        </figure>
      </section>
      <dl>
        <div><dt>Step</dt><dd id="step">0</dd></div>
        <div><dt>Loss</dt><dd id="loss">–</dd></div>
        <div><dt>Accuracy</dt><dd id="accuracy">–</dd></div>
        <div><dt>Steps per second</dt><dd id="speed">–</dd></div>
        <div><dt>Adapter</dt><dd id="adapter">–</dd></div>
      </dl>
      <p id="message" role="status"></p>
      <button id="again" type="button" disabled>Train again</button>
    </main>`;
  const element = (id) => document.getElementById(id);
  const line = drawAxes(element("chart"), steps);
  const losses = [];
  return {
    /** `working`, `done` or `failed`: for the style sheet, and for whoever watches the page from outside. */
    state(name, message = "") {
      document.body.dataset.state = name;
      element("message").textContent = message;
      element("again").disabled = name === "working";
    },
    adapter(text) {
      element("adapter").textContent = text;
    },
    clear() {
      losses.length = 0;
    },
    show({ step, loss, accuracy, field }, stepsPerSecond) {
      losses.push([step, loss]);
      element("step").textContent = String(step);
      element("loss").textContent = loss.toPrecision(3);
      element("accuracy").textContent = `${(100 * accuracy).toFixed(1)} %`;
      element("speed").textContent = stepsPerSecond.toFixed(0);
      line.setAttribute("points", losses.map(([at, value]) => `${acrossOf(at, steps)},${downOf(value)}`).join(" "));
      drawField(element("field").getContext("2d"), field, side, points, labels);
    },
    onAgain(act) {
      element("again").addEventListener("click", act);
    },
  };
}

const acrossOf = (step, steps) => margin.left + ((width - margin.left - margin.right) * step) / steps;
const downOf = (loss) => {
  const share = Math.log(Math.min(1, Math.max(lowest, loss))) / Math.log(lowest);
  return margin.top + (height - margin.top - margin.bottom) * share;
};

function drawAxes(chart, steps) {
  const add = (name, attributes, text = "") => {
    const made = document.createElementNS(svg, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return chart.appendChild(made);
  };
  for (const loss of [1, 0.1, 0.01, 0.001]) {
    const y = downOf(loss);
    add("line", { class: "rule", x1: margin.left, x2: width - margin.right, y1: y, y2: y });
    add("text", { x: margin.left - 8, y: y + 5, "text-anchor": "end" }, String(loss));
  }
  for (const step of [0, steps / 2, steps]) {
    add(
      "text",
      { x: acrossOf(step, steps), y: height - 14, "text-anchor": step === steps ? "end" : "middle" },
      `${step}`,
    );
  }
  return add("polyline", { class: "loss" });
}

function drawField(context, field, side, points, labels) {
  const styles = getComputedStyle(document.body);
  const [first, second] = ["--first", "--second"].map((name) => rgb(styles.getPropertyValue(name)));
  const image = new ImageData(side, side);
  for (let index = 0; index < field.length; index++) {
    const mixed = first.map((from, channel) => from + (second[channel] - from) * field[index]);
    image.data.set([...mixed, 150], 4 * index);
  }
  const small = new OffscreenCanvas(side, side);
  small.getContext("2d").putImageData(image, 0, 0);
  context.clearRect(0, 0, width, height);
  context.drawImage(small, 0, 0, width, height);
  for (let index = 0; index < labels.length; index++) {
    const [x, y] = [points[2 * index], points[2 * index + 1]];
    context.beginPath();
    context.arc((width * (x + 1)) / 2, (height * (1 - y)) / 2, 4, 0, 2 * Math.PI);
    context.fillStyle = `rgb(${labels[index] === 0 ? first : second})`;
    context.fill();
    context.strokeStyle = styles.getPropertyValue("--surface");
    context.stroke();
  }
}

/** Red, green and blue of `#rrggbb`. */
const rgb = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.trim().slice(at, at + 2), 16));
