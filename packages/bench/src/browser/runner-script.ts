/**
 * The contract of the module `#runner-script`: in the published package it reads the script that the build has made, and in
 * the repository it bundles the sources anew, so that it is never older than an edit. Conditions in package.json choose.
 */
export interface RunnerScriptModule {
  /** The text of the module that the page runs. */
  runnerScript(): Promise<string>;
}
