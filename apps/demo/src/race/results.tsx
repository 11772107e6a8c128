import {
  aggregate,
  type Contestant,
  formatCount,
  formatMetric,
  formatMisses,
  formatSeconds,
  formatTarget,
  metricName,
  type RunRecord,
} from "@thalweg/bench";
import { labelOf } from "./chart-model";
import { type Lane, measureOf, type RaceIdentity } from "./lanes";
import { PictureMenu } from "./picture-menu";

interface ResultsProps {
  readonly race: RaceIdentity;
  readonly lanes: readonly Lane[];
  /** Runs that each lane of this page is to have. */
  readonly seeds: number;
}

/** A lane with what its finished runs amount to. */
interface Row {
  readonly lane: Lane;
  readonly result: Contestant | undefined;
}

/** The table of times to the target: a row for each lane, the fastest first, filling up as runs end. */
export function Results({ race, lanes, seeds }: ResultsProps) {
  const rows = rank(lanes.map((lane) => ({ lane, result: resultOf(lane.records) })));
  const { phase, metric } = measureOf(race);
  const { target } = race;
  const longest = longestTime(rows);
  const drawn = lanes.flatMap(({ records }) => records);
  return (
    <section class="panel results" aria-labelledby="results-title">
      <div class="panel-head">
        <h2 id="results-title">
          {target === null
            ? `Best ${metricName(phase, metric)}`
            : `Time to ${formatTarget(metric, target.value)} ${metricName(phase, metric)}`}
        </h2>
        <PictureMenu
          title="the whole race"
          name={`thalweg-${race.workload}`}
          disabled={drawn.length === 0}
          draw={async (theme) => (await import("./report-figure")).reportFigure(drawn, theme)}
        />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard. */}
      <section class="scroll" tabIndex={0} aria-label="Table of times">
        <table>
          <thead>
            <tr>
              <th scope="col">Optimizer</th>
              {target !== null && (
                <>
                  <th scope="col" class="number">
                    Reached
                  </th>
                  <th scope="col" class="strip-cell">
                    Runs
                  </th>
                  <th scope="col" class="number">
                    Seconds
                  </th>
                  <th scope="col" class="number">
                    Steps
                  </th>
                </>
              )}
              <th scope="col" class="number">
                Best
              </th>
              <th scope="col" class="number">
                Steps/s
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ lane, result }) => (
              <tr key={lane.key} data-series={lane.color % 8}>
                <th scope="row">
                  <span class={`swatch dash-${lane.dash % 4}`} aria-hidden="true" />
                  <span class="name">{lane.optimizer}</span>{" "}
                  <span class="muted">
                    {lane.detail}
                    {lane.environment !== "" && ` · ${lane.environment}`}
                  </span>
                  <Progress lane={lane} />
                </th>
                {target !== null && (
                  <>
                    <td class="number">
                      {result?.reached ?? 0} of {lane.isOwn ? seeds : (result?.runs.length ?? 0)}
                      {result !== undefined && result.missed > 0 && <small class="miss">{formatMisses(result)}</small>}
                    </td>
                    <td class="strip-cell">
                      <Strip records={lane.records} result={result} longest={longest} />
                    </td>
                    <QuartileCell values={result?.secondsToTarget} format={formatSeconds} />
                    <QuartileCell values={result?.stepsToTarget} format={formatCount} />
                  </>
                )}
                <td class="number">{result === undefined ? "–" : formatMetric(metric, result.best.median)}</td>
                <td class="number">{result?.stepsPerSecond == null ? "–" : formatCount(result.stepsPerSecond)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <p class="hint">
        Medians over seeds, with quartiles; a run that misses the target counts as infinitely long. Time is training
        time: compiling, evaluating and checkpoints are not in it.
      </p>
    </section>
  );
}

/** How the run that is going on stands. */
function Progress({ lane: { live } }: { readonly lane: Lane }) {
  if (live === undefined) return null;
  const { configuration, activity, step, fraction } = live;
  return (
    <span class="progress">
      <progress
        value={fraction}
        aria-label={`Used of the budget by ${configuration.optimizer}, seed ${configuration.seed}`}
      />
      <small class="muted">
        seed {configuration.seed}, {activity === "compiling" ? "compiling" : `step ${formatCount(step)}`}
      </small>
    </span>
  );
}

interface StripProps {
  readonly records: readonly RunRecord[];
  readonly result: Contestant | undefined;
  readonly longest: number;
}

const [stripWidth, stripHeight] = [150, 18];

/** Times to the target on a line: a dot for each seed, a bar between the quartiles, a tick at the median, × for a miss. */
function Strip({ records, result, longest }: StripProps) {
  if (result === undefined || longest === 0) return null;
  const place = (seconds: number) => 6 + ((stripWidth - 26) * seconds) / longest;
  const middle = stripHeight / 2;
  const times = records.map(({ end }) => end?.timeToTarget?.seconds);
  const { lower, median, upper } = result.secondsToTarget ?? { lower: 0, median: Number.NaN, upper: 0 };
  const misses = times.filter((time) => time === undefined).length;
  return (
    <svg
      class="strip"
      aria-hidden="true"
      viewBox={`0 0 ${stripWidth} ${stripHeight}`}
      width={stripWidth}
      height={stripHeight}
    >
      <line class="axis" x1="6" x2={stripWidth - 20} y1={middle} y2={middle} />
      {Number.isFinite(lower) && Number.isFinite(upper) && upper > lower && (
        <line class="bar" x1={place(lower)} x2={place(upper)} y1={middle} y2={middle} />
      )}
      {times.map((time, index) =>
        time === undefined ? null : <circle key={index} class="dot" cx={place(time)} cy={middle} r="3" />,
      )}
      {Number.isFinite(median) && (
        <line class="median" x1={place(median)} x2={place(median)} y1="2" y2={stripHeight - 2} />
      )}
      {misses > 0 && (
        <text class="miss" x={stripWidth - 4} y={middle + 4} text-anchor="end">
          {misses > 1 ? `${misses}×` : "×"}
        </text>
      )}
    </svg>
  );
}

function resultOf(records: readonly RunRecord[]): Contestant | undefined {
  // Runs of one lane are one contestant of one race.
  return records.length === 0 ? undefined : aggregate(records)[0]?.contestants[0];
}

function longestTime(rows: readonly Row[]): number {
  const times = rows.flatMap(({ lane }) => lane.records.map(({ end }) => end?.timeToTarget?.seconds ?? 0));
  return Math.max(0, ...times);
}

/** As reports rank: by the median time, then by how many reached the target; lanes without a run stay in their order. */
function rank(rows: readonly Row[]): readonly Row[] {
  const timeOf = ({ result }: Row) => result?.secondsToTarget?.median ?? Number.POSITIVE_INFINITY;
  const difference = (a: number, b: number) => (a === b ? 0 : a - b);
  return rows.toSorted(
    (a, b) =>
      difference(timeOf(a), timeOf(b)) ||
      difference(b.result?.reached ?? 0, a.result?.reached ?? 0) ||
      Number(a.result === undefined) - Number(b.result === undefined),
  );
}

interface QuartileCellProps {
  readonly values: Contestant["secondsToTarget"] | undefined;
  readonly format: (value: number) => string;
}

/** A median and, where there is more than one value to speak of, the quartiles. */
function QuartileCell({ values, format }: QuartileCellProps) {
  if (values == null) return <td class="number">–</td>;
  const { lower, median, upper } = values;
  return (
    <td class="number">
      {format(median)}
      {lower !== upper && (
        <span class="quartiles">
          {" "}
          ({format(lower)} – {format(upper)})
        </span>
      )}
    </td>
  );
}

/** The legend of all charts. */
export function Legend({ lanes }: { readonly lanes: readonly Lane[] }) {
  return (
    <ul class="legend" aria-label="Lines of the charts">
      {lanes.map((lane) => (
        <li key={lane.key} data-series={lane.color % 8}>
          <span class={`swatch dash-${lane.dash % 4}`} aria-hidden="true" />
          {labelOf(lane)}
        </li>
      ))}
    </ul>
  );
}
