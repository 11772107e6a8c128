import { chromeTrace, defaultDevice, formatProfile } from "@thalweg/tensor";
import type { Command } from "commander";
import type { ProfileAnswer } from "../../browser/protocol";
import { checkData } from "../../browser/race.node.js";
import { replaceFile } from "../../records/durable.node.js";
import { formatCount } from "../../report/format";
import { findOptimizer } from "../../run/optimizer";
import { profileStep, type StepProfile } from "../../run/profile";
import { addProtocolOptions, openDevice, type ProtocolFlags, protocolOf } from "../options";
import { parseNumber } from "../parse";
import { addPlaceOptions, browserOf, openBrowser, type PlaceFlags } from "../place";
import { describeTuning } from "../tuning";
import type { CommandContext } from "./context";

interface ProfileFlags extends ProtocolFlags, PlaceFlags {
  readonly optimizer: string;
  readonly steps: number;
  readonly trace?: string;
  readonly json?: boolean;
}

/** `thalweg profile`: the cost of one compiled training step. */
export function addProfileCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command("profile")
    .description("Measure the compiled training step of a workload: kernels, dispatches, memory, time.")
    .argument("<workload>", "name of a workload; thalweg list workloads shows them")
    .option("--optimizer <name>", "name of an optimizer; thalweg list optimizers shows them", "momentum")
    .option(
      "--steps <n>",
      "steps to measure, after the warm-up",
      (text) => parseNumber(text, { option: "--steps", integer: true, min: 1 }),
      50,
    )
    .option("--trace <file>", "write the kernels of one step as a trace for chrome://tracing or Perfetto");
  addPlaceOptions(addProtocolOptions(command))
    .option("--json", "write the profile as one JSON document on stdout")
    .action(async (workload: string, flags: ProfileFlags) => {
      const { profile, rows, tuning } = await takeProfile(workload, flags, (line) => terminal.error(`${line}\n`));
      for (const line of describeTuning(tuning)) terminal.error(`${line}\n`);
      if (flags.trace !== undefined) replaceFile(flags.trace, Buffer.from(JSON.stringify(chromeTrace(rows))));
      if (flags.json) {
        terminal.out(`${JSON.stringify(profile, null, 2)}\n`);
        return;
      }
      const table =
        rows.length > 0 ? formatProfile(rows) : "The adapter has no timestamps, so kernels cannot be timed.";
      terminal.out(`${formatSummary(profile)}\n\n${table}\n`);
      if (flags.trace !== undefined) terminal.out(`wrote ${flags.trace}\n`);
    });
}

async function takeProfile(
  workload: string,
  flags: ProfileFlags,
  notice: (line: string) => void,
): Promise<ProfileAnswer> {
  const algorithm = { optimizer: findOptimizer(flags.optimizer).name };
  const options = { ...protocolOf(flags), workload, split: flags.split, algorithm, steps: flags.steps };
  const browser = browserOf(flags);
  if (browser === undefined) {
    const taken = await profileStep({ ...options, openDevice: () => openDevice(flags, notice) });
    return { ...taken, tuning: defaultDevice()?.tuning.reports ?? [] };
  }
  await checkData(workload);
  await using session = await openBrowser(browser, flags);
  session.onEvent = (event) => {
    if (event.type === "notice") notice(event.text);
  };
  return await session.call("profile", { ...options, device: { adapter: session.adapter, tune: flags.tune ?? false } });
}

/** How close the plan of memory comes to what its order of kernels cannot do without. */
const heldOverNeeded = ({ bytesPeak, bytesLowerBound }: StepProfile): string =>
  `${(bytesPeak / bytesLowerBound).toFixed(2)} times the ${formatCount(bytesLowerBound)} that are needed at least`;

function formatSummary(profile: StepProfile): string {
  const [lower, upper] = profile.msPerStepQuartiles.map((ms) => ms.toFixed(2));
  const rows: readonly (readonly [string, string])[] = [
    ["time", `${profile.msPerStep.toFixed(2)} ms (${lower} – ${upper})`],
    ["dispatches", String(profile.dispatches)],
    ["submits", String(profile.submits)],
    ["buffers created", String(profile.buffersCreated)],
    ["bind groups created", String(profile.bindGroupsCreated)],
    ["readbacks", String(profile.readbacks)],
    ["bytes held", `${formatCount(profile.bytesPeak)}, ${heldOverNeeded(profile)}`],
  ];
  const title = `${profile.workload}, ${profile.optimizer}, batch ${profile.batchSize}, on ${profile.adapter}: one training step`;
  return [title, ...rows.map(([name, value]) => `  ${name.padEnd(20)} ${value}`)].join("\n");
}
