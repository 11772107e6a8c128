// The part of the package that needs a disk or a terminal: import it as "@thalweg/bench/node".

// The command line.

export { describeFailure, exitCodes } from "./cli/failure";
export { main } from "./cli/main";
export type { Terminal } from "./cli/terminal";

// Runs in a browser.

export type { DeviceRequest } from "./browser/protocol";
export { type BrowserRaceOptions, type BrowserRaceResult, raceInBrowser } from "./browser/race.node.js";
export { type BrowserName, type BrowserOptions, BrowserSession, browserNames } from "./browser/session.node.js";

// Records on a disk.

export { checkpointPath, folderStore, recordPath } from "./records/folder.node.js";
export { readRecord, readRecords } from "./records/reader.node.js";

// Reports as files.

export { renderPng } from "./report/png.node.js";
export { type ReportFormat, type ReportOptions, reportFormats, writeReport } from "./report/report.node.js";
