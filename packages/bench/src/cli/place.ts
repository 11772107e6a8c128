import { type ClassReport, defaultDevice } from "@thalweg/tensor";
import type { Command } from "commander";
import { checkData, raceInBrowser } from "../browser/race.node.js";
import { type BrowserName, BrowserSession } from "../browser/session.node.js";
import { UsageError } from "../errors";
import { type RaceOptions, type RaceResult, race } from "../race";
import { folderStore } from "../records/folder.node.js";
import type { AlgorithmRequest } from "../run/configuration";
import { openDevice, type ProtocolFlags } from "./options";
import { parseChoice } from "./parse";

const places = ["node", "browser", "chromium", "firefox", "webkit"] as const;

/** Where a command computes, as commander gives it. */
export interface PlaceFlags {
  readonly in: (typeof places)[number];
  readonly headed?: boolean;
  readonly browserPath?: string;
}

/** Adds the options that say where to compute. */
export function addPlaceOptions(command: Command): Command {
  return command
    .option(
      "--in <place>",
      "where to compute: node, or the page of a browser: browser or chromium, firefox, webkit",
      (text) => parseChoice(text, places, "place", `Use any of ${places.join(", ")}.`),
      "node",
    )
    .option("--headed", "show the browser's window")
    .option("--browser-path <file>", "the browser's executable; default: CHROME_PATH, else one that is found");
}

/** The browser that is asked for; undefined for Node. @throws UsageError */
export function browserOf({ in: place, headed, browserPath }: PlaceFlags): BrowserName | undefined {
  if (place !== "node") return place === "browser" ? "chromium" : place;
  const option = headed ? "--headed" : browserPath === undefined ? undefined : "--browser-path";
  if (option !== undefined) throw new UsageError(`${option} says how to open a browser. Give --in browser too.`);
  return undefined;
}

/** Opens the browser that is asked for. */
export const openBrowser = (
  browser: BrowserName,
  { headed, browserPath, adapter }: PlaceFlags & Pick<ProtocolFlags, "adapter">,
): Promise<BrowserSession> => BrowserSession.open({ browser, headed, executablePath: browserPath, adapter });

/** What commands ask of a race: all that is plain data, and whom to tell. */
export interface PlacedRaceOptions extends Omit<RaceOptions, "store" | "files" | "openDevice" | "hold" | "inspect"> {
  readonly workload: string;
  readonly algorithms: readonly AlgorithmRequest[];
  /** Folder of the results. */
  readonly folder: string;
  /** Told what devices have to say. */
  readonly onNotice: (line: string) => void;
}

/** Runs a race where the flags say. Records of a browser's runs lie beside those of Node's, in a folder of their own. */
export async function raceInPlace(
  flags: PlaceFlags & ProtocolFlags,
  { folder, onNotice, ...options }: PlacedRaceOptions,
): Promise<RaceResult & { readonly tuning: readonly ClassReport[] }> {
  const browser = browserOf(flags);
  if (browser === undefined) {
    const store = folderStore(folder);
    const result = await race({ ...options, store, openDevice: () => openDevice(flags, onNotice) });
    return { ...result, tuning: defaultDevice()?.tuning.reports ?? [] };
  }
  // What is missing is an error before a browser starts.
  await checkData(options.workload);
  await using session = await openBrowser(browser, flags);
  const device = { adapter: session.adapter, tune: flags.tune ?? false };
  return await raceInBrowser(session, { ...options, device, store: folderStore(folder, browser), onNotice });
}
